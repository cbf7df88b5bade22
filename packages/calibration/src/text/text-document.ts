/** A text that stands on its own: the model sees it from its beginning, with nothing before it. */
export interface TextDocument {
  /** What the text belongs to; results are reported for each source. */
  source: string;
  text: string;
}

/** The content of a text file, and its name or path: the extension says how to read it. */
export interface TextFile {
  name: string;
  text: string;
}
