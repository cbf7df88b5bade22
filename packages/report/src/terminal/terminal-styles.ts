/** How a terminal stresses text. The app passes its colour functions; without them the text is plain. */
export interface TerminalStyles {
  strong(text: string): string;
  faint(text: string): string;
}

export const plainStyles: TerminalStyles = { strong: (text) => text, faint: (text) => text };
