/** A cell with, where the text is rounded, the exact figure: HTML shows it on hover. */
export interface ExactCell {
  text: string;
  exact: string;
}

export interface Column {
  title: string;
  align: 'left' | 'right';
}

/** A table before it is drawn; the first cell of a row names the row. Cells are plain text, escaped when drawn. */
export interface ReportTable {
  caption: string;
  columns: Column[];
  rows: (string | ExactCell)[][];
}

export function cellText(cell: string | ExactCell): string {
  return typeof cell === 'string' ? cell : cell.text;
}

/** A column of names. */
export function left(title: string): Column {
  return { title, align: 'left' };
}

/** A column of figures. */
export function right(title: string): Column {
  return { title, align: 'right' };
}
