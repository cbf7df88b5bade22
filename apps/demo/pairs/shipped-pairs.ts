import type { Plugin } from 'vite';
import { makePairs } from './make-pairs.ts';

/** Has the pairs made before the page is built or served; Vite copies them from its public folder. */
export function shippedPairs(): Plugin {
  return { name: 'shipped-pairs', buildStart: () => makePairs() };
}
