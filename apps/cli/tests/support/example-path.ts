import { fileURLToPath } from 'node:url';

/** Path of a file in examples/. */
export function examplePath(name: string): string {
  return fileURLToPath(new URL(`../../../../examples/${name}`, import.meta.url));
}
