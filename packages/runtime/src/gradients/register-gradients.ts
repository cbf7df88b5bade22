import { getGradient, registerGradient } from '@tensorflow/tfjs-core';
import { gradientFunctions } from './gradient-functions.ts';

/**
 * Makes the blocks differentiable. The entry of tfjs-core registers no gradients, and its file that registers them all
 * cannot be imported in Node. Gradients that a program has registered before are left alone.
 */
export function registerGradients(): void {
  for (const [kernelName, gradient] of Object.entries(gradientFunctions)) {
    if (getGradient(kernelName) == null) registerGradient({ kernelName, ...gradient });
  }
}
