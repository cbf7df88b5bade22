import type { Activation } from '../projection.ts';

/** The activation of one number. The exact GELU takes its error function from Abramowitz and Stegun 7.1.26 (error 1.5e-7). */
export const activate: Record<Activation, (value: number) => number> = {
  silu: (value) => value / (1 + Math.exp(-value)),
  'gelu-tanh': (value) => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))),
  gelu: (value) => {
    const a = Math.abs(value) * Math.SQRT1_2;
    const t = 1 / (1 + 0.3275911 * a);
    const polynomial = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
    const tail = t * polynomial * Math.exp(-a * a);
    return 0.5 * value * (value < 0 ? tail : 2 - tail);
  },
};
