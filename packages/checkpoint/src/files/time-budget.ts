import { KvlrError, type KvlrErrorPlace } from '@kvlr/core';

/** A sound tokenizer or template needs a microsecond a character; a machine that is busy, some dozens of them. */
const millisecondsPerCharacter = 0.1;

/** Shorter than the second within which a signal is heard: nothing else runs meanwhile. */
const leastMilliseconds = 900;

/** How long code that a stranger's file describes may work on a text. */
export function timeBudget(characters: number): number {
  return leastMilliseconds + millisecondsPerCharacter * characters;
}

interface Machine {
  runInContext(code: string, context: object, settings: object): unknown;
  createContext(values: object): { work: () => unknown };
}

interface NodeProcess {
  getBuiltinModule?(name: string): unknown;
  /** Microseconds of processor time since `before`. */
  cpuUsage(before?: object): { user: number; system: number };
}

let context: ReturnType<Machine['createContext']> | undefined;

/**
 * Runs code that a stranger's file describes: regular expressions of a tokenizer, a template. In Node it is stopped when its time is up,
 * wherever it is, and at once by Ctrl-C. Where the processors were busy with other programs meanwhile, it is begun again with twice the
 * time, four times at most. Browsers can stop workers only, which is where a page should load such files.
 *
 * @param place Where the code comes from.
 * @param work May be run several times: it changes nothing outside.
 * @throws KvlrError 'file-malformed' when the time is up, 'aborted' after Ctrl-C, and what `work` throws.
 */
export function withinTime<Value>(milliseconds: number, place: KvlrErrorPlace, work: () => Value): Value {
  const { process } = globalThis as { process?: NodeProcess };
  const machine = process?.getBuiltinModule?.('node:vm') as Machine | undefined;
  if (machine === undefined) return work();
  const node = process as NodeProcess;
  for (let timeout = Math.ceil(milliseconds); ; timeout *= 2) {
    const before = node.cpuUsage();
    try {
      return runWithin(machine, timeout, isMainThread(node), work);
    } catch (cause) {
      const { user, system } = node.cpuUsage(before);
      const isStarved = (user + system) / 1000 < milliseconds && timeout < 16 * milliseconds;
      if (!(isTimeout(cause) && isStarved)) throw stopped(cause, timeout, place);
    }
  }
}

function runWithin<Value>(machine: Machine, timeout: number, breakOnSigint: boolean, work: () => Value): Value {
  context ??= machine.createContext({ work: () => undefined });
  const outer = context.work;
  let value: { done: Value } | undefined;
  context.work = () => {
    value = { done: work() };
  };
  try {
    machine.runInContext('work()', context, { timeout, breakOnSigint });
  } finally {
    context.work = outer;
  }
  return (value as unknown as { done: Value }).done;
}

function isTimeout(cause: unknown): boolean {
  return (Object(cause) as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}

/** Signals reach the main thread alone. */
function isMainThread(process: NodeProcess | undefined): boolean {
  const threads = process?.getBuiltinModule?.('node:worker_threads') as { isMainThread: boolean } | undefined;
  return threads?.isMainThread === true;
}

function stopped(cause: unknown, milliseconds: number, place: KvlrErrorPlace): unknown {
  const { code } = Object(cause) as { code?: unknown };
  if (code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED') {
    return new KvlrError('aborted', { message: 'The work was stopped before it was done.', cause });
  }
  if (!isTimeout(cause)) return cause;
  return new KvlrError('file-malformed', {
    message: `expected to be done within ${Math.round(milliseconds / 1000)} seconds, got no end`,
    hint: 'The file asks for work without bounds: download it again, from a place that you trust.',
    where: place,
    data: { milliseconds },
    cause,
  });
}
