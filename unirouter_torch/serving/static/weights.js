// From places on a slider to weights: 0 at its start, then logarithmic over five powers of ten.

const [LEAST, DECADES, STEPS] = [1e-3, 5, 200];

export const weightOf = step => (step <= 0 ? 0 : Number((LEAST * 10 ** ((DECADES * step) / STEPS)).toPrecision(3)));

/** Where a weight lies, in [0, 1]. */
export const placeOf = weight => {
  if (weight <= 0) return 0;
  return Math.min(1, Math.max(1 / STEPS, Math.log10(weight / LEAST) / DECADES));
};

export const stepOf = weight => Math.round(STEPS * placeOf(weight));
