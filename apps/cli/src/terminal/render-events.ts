import type { EventListener, KvlrEvent } from '@kvlr/core';
import { formatDuration } from '@kvlr/report';
import { Presets, SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.ts';

export interface EventRenderer {
  onEvent: EventListener;
  /** Takes an unfinished bar off the screen. */
  stop(): void;
}

type ProgressEvent = Extract<KvlrEvent, { type: 'progress' }>;

/** Draws a bar per stage on a terminal, and writes plain lines elsewhere. All of it goes to stderr. */
export function createEventRenderer(terminal: Terminal): EventRenderer {
  const showProgress = terminal.interactive ? createBar() : createLines(terminal);
  const line = (text: string) => {
    showProgress.stop();
    terminal.writeError(`${text}\n`);
  };
  const { colors } = terminal;
  return {
    stop: () => showProgress.stop(),
    onEvent: (event) => {
      if (event.type === 'progress') showProgress.update(event);
      else if (event.type === 'stage-started') line(`${colors.bold(event.stage.padEnd(11))} ${event.title}`);
      else if (event.type === 'note') line(`${colors.dim('note')}        ${event.message}`);
      else if (event.type === 'warning') line(`${colors.yellow('warning')}     ${event.message}`);
      else {
        const outcome = event.skipped ? 'kept from the run directory' : `done in ${formatDuration(event.seconds)}`;
        line(colors.dim(`            ${outcome}${event.detail ? `; ${event.detail}` : ''}`));
      }
    },
  };
}

interface ProgressView {
  update(event: ProgressEvent): void;
  stop(): void;
}

function createBar(): ProgressView {
  let bar: SingleBar | undefined;
  return {
    update(event) {
      if (bar === undefined) {
        bar = new SingleBar(
          {
            format: '            {bar} {value}/{total} {unit}  {eta_formatted} left  {detail}',
            clearOnComplete: true,
            hideCursor: true,
            stream: process.stderr,
          },
          Presets.shades_classic,
        );
        bar.start(event.total, event.completed, { unit: event.unit, detail: event.detail ?? '' });
      }
      bar.setTotal(event.total);
      bar.update(event.completed, { unit: event.unit, detail: event.detail ?? '' });
    },
    stop() {
      bar?.stop();
      bar = undefined;
    },
  };
}

/** Seconds between two lines of the same stage, so that a log stays short. */
const secondsBetweenLines = 10;

function createLines(terminal: Terminal): ProgressView {
  let lastLine = Date.now();
  return {
    update(event) {
      if (Date.now() - lastLine < secondsBetweenLines * 1000) return;
      lastLine = Date.now();
      const share = Math.floor((100 * event.completed) / Math.max(1, event.total));
      const progress = `${event.completed.toLocaleString('en-US')}/${event.total.toLocaleString('en-US')} ${event.unit}`;
      terminal.writeError(`            ${share} %  ${progress}${event.detail ? `  ${event.detail}` : ''}\n`);
    },
    stop() {},
  };
}
