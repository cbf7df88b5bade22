/** Beginnings in the style of the embedded model's texts, for comparing engines. */
export const prompts = [
  'Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse,',
  'In the beginning God created the heaven and the earth. And the earth was without form, and void;',
  'Fellow-citizens of the Senate and of the House of Representatives: The state of the Union is',
  'The captain stood at the rail all night — "there she blows!" cried the mate — and nobody slept.',
  'Of the 1,204 ships that left port in 1851, only 37 came home before winter; the others were',
];
