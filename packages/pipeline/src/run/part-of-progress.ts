import type { RunControl } from '@kvlr/core';

/** A control for one of several equal parts of a stage: its progress counts on where the part before it ended. */
export function partOfProgress({ onEvent, signal }: RunControl, part: number, parts: number): RunControl {
  return {
    signal,
    onEvent: (event) => {
      if (event.type !== 'progress') return onEvent?.(event);
      onEvent?.({ ...event, completed: part * event.total + event.completed, total: parts * event.total });
    },
  };
}
