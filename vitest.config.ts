import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Packages are tested from their sources: nothing has to be built. */
const conditions = ['@kvlr/source'];

/** A test that hangs costs its timeout. One that needs longer, on two busy processors, says so itself. */
const timeout = (milliseconds: number) => ({ testTimeout: milliseconds, hookTimeout: milliseconds });

/** Whole programs first: no long file is left alone at the end. */
class ProgramsFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isProgram = ({ project }: TestSpecification) => project.name === 'programs';
    return [...sorted.filter(isProgram), ...sorted.filter((file) => !isProgram(file))];
  }
}

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: ProgramsFirst },
    projects: [
      {
        extends: true,
        test: { name: 'sources', include: ['{packages,apps}/*/src/**/*.test.ts'], ...timeout(120_000) },
      },
      {
        extends: true,
        // The command line, pages in Chromium, other engines.
        test: { name: 'programs', include: ['apps/*/tests/**/*.test.ts'], ...timeout(300_000) },
      },
    ],
  },
});
