// The steps of the slider for the context: powers of two, and what the model was trained for.
export function contextSteps(most: number): number[] {
  const steps: number[] = [];
  for (let step = 512; step < most; step *= 2) steps.push(step);
  return [...steps, most];
}

// The step that is nearest to `wanted`, as an index.
export function nearestStep(steps: number[], wanted: number): number {
  let best = 0;
  for (const [i, step] of steps.entries()) {
    if (Math.abs(step - wanted) < Math.abs(steps[best]! - wanted)) best = i;
  }
  return best;
}
