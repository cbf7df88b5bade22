import { libraryConfig } from '../../tsup.base.ts';

// The terminal tables are an entry of their own: cli-table3 stays out of browser bundles.
export default libraryConfig(['src/index.ts', 'src/terminal.ts']);
