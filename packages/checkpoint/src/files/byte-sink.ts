/** Port: takes bytes from front to back. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<void>;
}
