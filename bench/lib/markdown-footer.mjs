/** The last lines of every table: the machine, what ran on it, the day, and the notes. */
export function markdownFooter({ machine, date, versions, backend }, notes) {
  const place = [machine, `Node ${versions.node}`, ...(backend === undefined ? [] : [backend]), date].join(', ');
  return ['', `${place}.`, '', ...notes.map((note) => `- ${note}`), ''];
}
