import { KvlrError, type PartOfWindows } from '@kvlr/core';

/**
 * The windows of one of several equal parts, which several machines share; all windows without a part.
 *
 * @throws KvlrError 'invalid-argument' for a part that there is not, or that has no windows.
 */
export function windowsOfPart<Window>(windows: readonly Window[], part: PartOfWindows | undefined): readonly Window[] {
  if (part === undefined) return windows;
  const [from, to] = [part.part - 1, part.part].map((edge) => Math.round((edge * windows.length) / part.parts));
  if (part.part >= 1 && part.part <= part.parts && from! < to!) return windows.slice(from, to);
  throw new KvlrError('invalid-argument', {
    message: `expected a part from 1 to ${part.parts} of ${windows.length} windows, got part ${part.part}`,
    hint: 'Take at most as many parts as there are windows.',
    where: { argument: 'part' },
    data: { ...part, windows: windows.length },
  });
}
