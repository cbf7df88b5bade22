import { stripControlCharacters } from '../format/strip-control-characters.ts';

/** Text for one line of GitHub-flavoured Markdown: nothing in it is read as markup, HTML, a link or a cell's end. */
export function escapeMarkdown(text: string): string {
  return stripControlCharacters(text)
    .replace(/[\\`*_[\]<>|~$&]/g, '\\$&')
    .replace(/(https?|ftp)(?=:)|www(?=\.)/gi, '$&\u200b');
}
