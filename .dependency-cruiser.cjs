/** Which room may import which (docs/architecture.md). Test files may also use the test kit and any package. */
const mayImport = {
  core: [],
  'reference-model': [],
  linalg: ['core'],
  rope: ['core', 'linalg'],
  checkpoint: ['core', 'rope'],
  calibration: ['core', 'linalg', 'rope'],
  grouping: ['core', 'linalg'],
  compression: ['core', 'linalg', 'rope'],
  cache: ['core', 'linalg'],
  kernels: ['core', 'cache'],
  runtime: ['core', 'checkpoint', 'rope', 'cache', 'kernels'],
  'engine-onnx': ['core', 'checkpoint', 'rope'],
  recovery: ['core', 'linalg', 'checkpoint', 'runtime'],
  evaluation: ['core'],
  tasks: ['core', 'calibration', 'checkpoint', 'evaluation', 'reference-model'],
  report: ['core'],
  pipeline: [
    'core',
    'linalg',
    'checkpoint',
    'rope',
    'calibration',
    'grouping',
    'compression',
    'cache',
    'runtime',
    'engine-onnx',
    'recovery',
    'evaluation',
    'tasks',
    'report',
  ],
  benchmark: ['core', 'checkpoint', 'kernels', 'runtime', 'report'],
  testkit: ['core'],
};
const numerical = 'linalg|rope|grouping|compression|calibration|cache';
const notTests = { pathNot: '\\.test\\.ts$|/tests/|/testing/|/test-support/' };

const roomRules = Object.entries(mayImport).map(([room, allowed]) => ({
  name: `${room}-imports`,
  comment: `@kvlr/${room} may import: ${allowed.join(', ') || 'no other package'}`,
  severity: 'error',
  from: { path: `^packages/${room}/src`, ...notTests },
  to: { path: '^(packages|apps)/', pathNot: `^packages/(${[room, ...allowed].join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...roomRules,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-imports-of-apps', severity: 'error', from: { path: '^packages/' }, to: { path: '^apps/' } },
    { name: 'unresolved', severity: 'error', from: {}, to: { couldNotResolve: true, pathNot: '^(virtual:|/)|\\?' } },
    {
      name: 'numerical-rooms-are-pure',
      comment: 'Pure functions of numbers: no TensorFlow.js, no schemas, nothing of Node',
      severity: 'error',
      from: { path: `^packages/(${numerical})/src`, ...notTests },
      to: { path: '(@tensorflow|/zod/|^node:)' },
    },
    {
      name: 'browser-safe',
      comment: 'Only node entries, the command line and tests may use Node modules',
      severity: 'error',
      from: {
        path: '^(packages/[^/]+|apps/demo)/src',
        pathNot: '/node\\.ts$|/node/|/testing/|\\.test\\.ts$|^packages/testkit',
      },
      to: { dependencyTypes: ['core'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/dist/|\\.config\\.ts$' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['@kvlr/source', 'import', 'default'] },
  },
};
