import type { Activation } from '../projection.ts';

const code: Record<Activation, string> = {
  silu: 'return v / (1.0 + exp(-v));',
  // The argument is bounded: tanh of large numbers overflows on some devices.
  'gelu-tanh': 'return 0.5 * v * (1.0 + tanh(clamp(0.7978845608 * (v + 0.044715 * v * v * v), -12.0, 12.0)));',
  gelu: `
    let a = abs(v) * 0.70710678118;
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * exp(-a * a);
    return 0.5 * v * select(2.0 - tail, tail, v < 0.0);`,
};

/** `fn activate(v: f32) -> f32`. The error function of the exact GELU is Abramowitz and Stegun 7.1.26 (error 1.5e-7). */
export function activationShader(activation: Activation): string {
  return `fn activate(v: f32) -> f32 { ${code[activation]} }`;
}
