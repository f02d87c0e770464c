import subprocess
import sys
from pathlib import Path

from miniature import ROOT

from unirouter_torch.data.load import load_table


def test_written_simulated_table_is_the_one_that_trains_by_default(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "write_simulated_table.py"), "--output", str(tmp_path)]
    result = subprocess.run([*script, "--prompts", "60", "--llms", "6"], capture_output=True, text=True, check=True)
    assert str(tmp_path) in result.stdout
    assert load_table(str(tmp_path)).content_hash == load_table("simulated:60x6").content_hash


def test_mistake_ends_the_script_with_code_2(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "write_simulated_table.py"), "--output", str(tmp_path)]
    result = subprocess.run([*script, "--prompts", "1"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
