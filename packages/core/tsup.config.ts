import { libraryConfig } from '../../tsup.base.ts';

export default libraryConfig(['src/index.ts', 'src/schemas.ts', 'src/wasm.ts']);
