export const open = {
  title: 'Sign in',
  opening: 'Opening…',
  already: (name: string) => `You are signed in on ${name}.`,
  goHome: 'Go to the start',
  linkTitle: 'By a link',
  linkText: 'On a computer of this cluster, run this command. It prints a link that signs this browser in, once, within 10 minutes.',
  keyTitle: 'By an API key',
  keyText: 'The page may then do what the key may do.',
  key: 'API key',
  signIn: 'Sign in',
  badLink: 'The link did not work',
};
