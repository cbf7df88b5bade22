import { KvlrError } from '@kvlr/core';

export function fileMissing(location: string, file: string, cause?: unknown): KvlrError {
  return new KvlrError('file-missing', {
    message: `openCheckpoint: expected the file ${file} in ${location}, found none`,
    hint: 'Name a place with config.json, tokenizer.json and *.safetensors side by side: a directory, a URL, or a hub id such as owner/name.',
    data: { location, file },
    cause,
  });
}

export function fileTruncated(location: string, file: string, expectedBytes: number, receivedBytes: number): KvlrError {
  return new KvlrError('file-truncated', {
    message: `readFile: expected ${expectedBytes} bytes in ${file} (${location}), got ${receivedBytes}`,
    hint: 'The file was cut short: download or copy it again.',
    data: { location, file, expected: expectedBytes, received: receivedBytes },
  });
}
