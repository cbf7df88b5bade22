import { defineConfig } from 'vitest/config';

/** Packages are tested from their sources: nothing has to be built. */
const conditions = ['@kvlr/source'];

/** A test that hangs costs its timeout. One that needs longer, on two busy processors, says so itself. */
const timeout = (milliseconds: number) => ({ testTimeout: milliseconds, hookTimeout: milliseconds });

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: { name: 'sources', include: ['{packages,apps}/*/src/**/*.test.ts'], ...timeout(30_000) },
      },
      {
        extends: true,
        // Whole programs: the command line, pages in Chromium, other engines.
        test: { name: 'programs', include: ['apps/*/tests/**/*.test.ts'], ...timeout(90_000) },
      },
    ],
  },
});
