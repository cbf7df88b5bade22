import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['@kvlr/source'] },
  ssr: { resolve: { conditions: ['@kvlr/source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts', 'apps/*/tests/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
