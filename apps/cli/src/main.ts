import { supervise } from './supervise.ts';
import { work } from './work.ts';

const argumentList = process.argv.slice(2);
/** These print something and are done, or serve until a signal ends them, as it ends any program: at once. */
const isBrief =
  ['completion', 'demo', 'help', undefined].includes(argumentList[0]) ||
  argumentList.some((word) => ['--help', '-h', '--version', '-V'].includes(word));

if (isBrief || process.send !== undefined) await work(argumentList);
else process.exitCode = await supervise(process.argv[1]!, argumentList);
