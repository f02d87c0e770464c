import torch

from unirouter_torch.training.memory_bank import MemoryBank


def test_refresh_replaces_exactly_the_given_rows() -> None:
    frozen = torch.randn(9, 4)
    bank, rows, new = MemoryBank(frozen), torch.tensor([7, 2, 5]), torch.randn(3, 4)
    bank.refresh(rows, new)
    others = torch.tensor([0, 1, 3, 4, 6, 8])
    assert torch.equal(bank.read(rows), new)
    assert torch.equal(bank.read(others), frozen[others])


def test_what_is_read_has_no_gradient_and_the_source_is_left_alone() -> None:
    frozen = torch.randn(3, 2)
    bank, new = MemoryBank(frozen), torch.randn(1, 2, requires_grad=True)
    kept = frozen.clone()
    bank.refresh(torch.tensor([1]), new * 2)
    assert not bank.read(torch.arange(3)).requires_grad
    assert torch.equal(frozen, kept)


def test_bank_is_no_part_of_the_weights_but_of_a_checkpoint() -> None:
    bank = MemoryBank(torch.randn(3, 2))
    assert list(bank.parameters()) == [] and bank.state_dict().keys() == {"embedding"}
