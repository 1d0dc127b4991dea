export const logs = {
  levels: { debug: 'details', info: 'news', warning: 'warnings', error: 'errors' },
  show: 'Show',
  from: { debug: 'everything', info: 'news and worse', warning: 'warnings and errors', error: 'errors only' },
  search: 'Search the log',
  follow: 'Follow',
  none: 'Nothing was logged yet.',
  noneFound: 'No line matches.',
  lost: 'The log is not coming any more. Trying again…',
  log: 'Log of this device',
};
