import { libraryConfig } from '../../tsup.base.ts';

// tsup leaves dependencies outside the bundle, but not optional ones.
export default { ...libraryConfig(['src/index.ts', 'src/node.ts']), external: [/^node:/, 'webgpu'] };
