/** A rectangle that something covers. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export const boxAround = (x: number, y: number): Box => ({ x: x - 5, y: y - 5, width: 10, height: 10 });

/** Width of a letter of small labels, about. */
const letter = 6.7;

/** Where labels may stand. */
interface Area {
  left: number;
  right: number;
  bottom: number;
}

/**
 * Where the name of a point stands free of what is `taken`: right or left of it, above or below; right above it where nothing is free.
 * What it covers is taken from then on.
 */
export function placeLabel(text: string, [x, y]: [number, number], taken: Box[], area: Area) {
  const size = { width: letter * text.length, height: 14 };
  const candidates = [-7, 18, -22, 33, -37, 48].flatMap((dy) =>
    (['start', 'end'] as const).map((anchor) => {
      const box = { ...size, x: anchor === 'start' ? x + 11 : x - 11 - size.width, y: y + dy - 11 };
      return { anchor, box, x: anchor === 'start' ? x + 11 : x - 11, y: y + dy };
    }),
  );
  const overlap = (a: Box, b: Box) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
  const isFree = ({ box }: (typeof candidates)[number]) =>
    box.x > area.left &&
    box.x + box.width < area.right &&
    box.y + box.height < area.bottom &&
    !taken.some((other) => overlap(box, other));
  const chosen = candidates.find(isFree) ?? candidates[0]!;
  taken.push(chosen.box);
  return chosen;
}
