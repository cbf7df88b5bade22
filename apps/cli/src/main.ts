import { run } from './run.ts';
import { exitOnClosedPipe, processTerminal } from './terminal/terminal.ts';

const stop = new AbortController();
process.on('SIGTERM', () => stop.abort(new Error('SIGTERM')));
process.on('SIGINT', () => {
  // The second Ctrl-C does not wait for the current step to end. Nothing is half-written: files are renamed into place.
  if (stop.signal.aborted) process.exit(130);
  process.stderr.write('\nStopping after the current step. Press Ctrl-C again to stop at once.\n');
  stop.abort(new Error('Ctrl-C'));
});

// A progress bar hides the cursor, and the second Ctrl-C may come while one is drawn.
process.on('exit', () => {
  if (process.stderr.isTTY) process.stderr.write('\u001b[?25h');
});

exitOnClosedPipe([process.stdout, process.stderr], (code) => process.exit(code));

const exitCode = await run(process.argv.slice(2), processTerminal(), stop.signal);
// Backends may keep the process alive with worker threads or a GPU device.
process.stdout.write('', () => process.exit(exitCode));
