import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** One recipe for each row of the comparison: NAME.yaml. */
export const recipesDirectory = shippedDirectory('recipes');

/** A working plug-in of each kind. */
export const examplesDirectory = shippedDirectory('examples');

/** A directory that comes with the program: beside it when it is built, at the root of the repository before. */
function shippedDirectory(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}`, import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL(`../../../../${name}`, import.meta.url));
}
