import { run } from './run.ts';
import { exitOnClosedPipe, processTerminal } from './terminal/terminal.ts';

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The second signal does not wait for the current step to end: the system itself ends the process then, whatever it is at.
    // Nothing is half-written: files are renamed into place, and the next run clears what is left.
    process.stderr.write('\nStopping after the current step. Once more (Ctrl-C) stops at once.\n');
    stop.abort(new Error(name));
    restoreTerminal();
    process.removeAllListeners('SIGINT');
    process.removeAllListeners('SIGTERM');
  });
}

// A progress bar hides the cursor, and the second Ctrl-C may come while one is drawn.
process.on('exit', restoreTerminal);
function restoreTerminal(): void {
  if (process.stderr.isTTY) process.stderr.write('\u001b[?25h');
}

exitOnClosedPipe([process.stdout, process.stderr], (code) => process.exit(code));

const exitCode = await run(process.argv.slice(2), processTerminal(), stop.signal);
// Backends may keep the process alive with worker threads or a GPU device.
process.stdout.write('', () => process.exit(exitCode));
