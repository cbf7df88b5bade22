import type { EventListener, KvlrEvent, StageName } from '@kvlr/core';
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

/** What is known of the stage that is drawn; kept while notes interrupt its bar. */
interface DrawnStage {
  stage: StageName;
  startedAt: number;
  completedAtStart: number;
}

function createBar(): ProgressView {
  let bar: SingleBar | undefined;
  let drawn: DrawnStage | undefined;
  return {
    update(event) {
      const { completed, total, unit, stage } = event;
      if (drawn?.stage !== stage || completed < drawn.completedAtStart) {
        drawn = { stage, startedAt: Date.now(), completedAtStart: completed };
      }
      if (bar === undefined) {
        const format = '            {bar} {value}/{total} {unit}  {left}{detail}';
        const settings = { format, clearOnComplete: true, stream: process.stderr };
        bar = new SingleBar(settings, Presets.shades_classic);
        bar.start(total, completed, { unit, left: '', detail: '' });
      }
      bar.setTotal(total);
      bar.update(completed, { unit, left: timeLeft(event, drawn), detail: event.detail ?? '' });
    },
    stop() {
      bar?.stop();
      bar = undefined;
    },
  };
}

/** By the speed since the stage began; nothing before there is one. */
function timeLeft({ completed, total }: ProgressEvent, { startedAt, completedAtStart }: DrawnStage): string {
  const done = completed - completedAtStart;
  if (done <= 0) return '';
  const secondsEach = (Date.now() - startedAt) / 1000 / done;
  return `${formatDuration(Math.round(secondsEach * (total - completed)))} left  `;
}

/** Seconds between two lines of the same stage, so that a log stays short. */
const secondsBetweenLines = 10;

function createLines(terminal: Terminal): ProgressView {
  let lastLine = Date.now();
  let drawn: DrawnStage | undefined;
  return {
    update(event) {
      const { completed, total, unit, stage, detail } = event;
      if (drawn?.stage !== stage || completed < drawn.completedAtStart) {
        drawn = { stage, startedAt: Date.now(), completedAtStart: completed };
      }
      if (Date.now() - lastLine < secondsBetweenLines * 1000) return;
      lastLine = Date.now();
      const share = Math.floor((100 * completed) / Math.max(1, total));
      const progress = `${completed.toLocaleString('en-US')}/${total.toLocaleString('en-US')} ${unit}`;
      // How long it will take is worth knowing where a stage says how it goes: in training.
      const left = detail === undefined ? '' : `  ${timeLeft(event, drawn)}`.trimEnd();
      terminal.writeError(`            ${share} %  ${progress}${left}${detail ? `  ${detail}` : ''}\n`);
    },
    stop() {},
  };
}
