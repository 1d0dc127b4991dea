import type { Tokens } from 'marked';
import type { MathToken } from './parse';

// What parse() gives. marked's own type is open to any extension, which hides what a kind has.
export type AnyToken =
  | Tokens.Blockquote | Tokens.Br | Tokens.Checkbox | Tokens.Code | Tokens.Codespan | Tokens.Def
  | Tokens.Del | Tokens.Em | (Tokens.Escape & { tokens?: undefined }) | Tokens.Heading | Tokens.Hr
  | Tokens.HTML | Tokens.Tag | Tokens.Image | Tokens.Link | Tokens.List | Tokens.ListItem
  | Tokens.Paragraph | Tokens.Space | Tokens.Strong | Tokens.Table | Tokens.Text | MathToken;
