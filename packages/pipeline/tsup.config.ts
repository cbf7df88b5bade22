import { libraryConfig } from '../../tsup.base.ts';

export default libraryConfig({
  index: 'src/index.ts',
  node: 'src/node.ts',
  'model-worker': 'src/node/model-worker.ts',
});
