import { fstatSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { isatty, WriteStream } from 'node:tty';

/** Where a supervised program writes what stderr is for: native code has descriptor 2 to itself. */
const errorDescriptor = 4;

/** Runs the program in this process, to its end. */
export async function work(argumentList: readonly string[]): Promise<void> {
  const isSupervised = process.send !== undefined;
  if (isSupervised) Object.defineProperty(process, 'stderr', { value: streamOf(errorDescriptor) });
  const [{ run }, { exitOnClosedPipe, processTerminal }] = await Promise.all([
    import('./run.ts'),
    import('./terminal/terminal.ts'),
  ]);
  exitOnClosedPipe([process.stdout, process.stderr], (code) => process.exit(code));
  const exitCode = await run(argumentList, processTerminal(), isSupervised ? stopSignal() : undefined);
  // Backends may keep the process alive with worker threads or a GPU device.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(exitCode)));
}

/** The signal by which the supervising process asks for an end after the current step. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  // A terminal sends its signals to both processes. The supervisor counts them; here the first is as good as the third.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stop.abort(new Error(name)));
  process.on('message', () => stop.abort(new Error('asked to stop')));
  // Who was killed supervises no more. Nothing is lost by an end here that the next run does not make again.
  process.on('disconnect', () => process.exit(1));
  process.channel?.unref();
  return stop.signal;
}

/** A stream to a descriptor, as Node makes stderr one. */
function streamOf(descriptor: number): Writable {
  if (isatty(descriptor)) return new WriteStream(descriptor);
  // Node 20 takes what a plain fstatSync has found of a pipe for its own next answer, and resolves modules wrongly.
  const kind = fstatSync(descriptor, { bigint: true });
  if (kind.isFIFO() || kind.isSocket()) return new Socket({ fd: descriptor, readable: false, writable: true });
  return new Writable({
    decodeStrings: false,
    write(chunk, _, done) {
      writeSync(descriptor, chunk);
      done();
    },
  });
}
