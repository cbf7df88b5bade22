export { type KernelCount, kernelCounters } from './register/kernel-counters.ts';
