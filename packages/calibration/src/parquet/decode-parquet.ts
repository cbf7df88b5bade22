/** A Parquet file as far as it was asked for. */
export interface ParquetRows {
  /** Names of all columns, read or not. */
  columns: string[];
  /** One object a row, with the columns that were asked for. Empty where none of them is there. */
  rows: Record<string, unknown>[];
}

/**
 * Decodes a Parquet file by hyparquet, which believes what the file says of its sizes.
 *
 * @param columns Default: all. Those that the file does not have are left out.
 */
export async function decodeParquet(bytes: Uint8Array<ArrayBuffer>, columns?: readonly string[]): Promise<ParquetRows> {
  const [{ parquetMetadata, parquetReadObjects, parquetSchema }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ]);
  const file = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  const present = parquetSchema(parquetMetadata(file)).children.map(({ element }) => element.name);
  const wanted = columns && present.filter((name) => columns.includes(name));
  if (wanted?.length === 0) return { columns: present, rows: [] };
  return {
    columns: present,
    rows: await parquetReadObjects({ file, compressors, ...(wanted && { columns: wanted }) }),
  };
}
