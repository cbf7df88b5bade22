/** Port: the files of one checkpoint, read by byte range. Names are relative paths with forward slashes. */
export interface CheckpointFiles {
  /** Where the files lie, for people: a path, a URL, 'memory'. */
  readonly location: string;
  /** Names of the files that can be read. */
  list(): Promise<string[]>;
  /** Size in bytes. Throws KvlrError 'file-missing'. */
  size(name: string): Promise<number>;
  /** Bytes [start, end) of a file; all of it by default. Throws 'file-missing', and 'file-truncated' past the end. */
  read(name: string, start?: number, end?: number): Promise<Uint8Array>;
  /** Frees what is held open. */
  close?(): Promise<void>;
}
