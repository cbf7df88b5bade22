/**
 * Text without what could steer a terminal or break XML: control characters become spaces, lone surrogates and
 * non-characters U+FFFD.
 */
export function stripControlCharacters(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ').replace(/\p{Cs}|[\ufffe\uffff]/gu, '\ufffd');
}
