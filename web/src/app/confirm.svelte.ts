// One question before something that cannot be taken back.
export interface Question {
  title: string;
  text: string;
  // What the button says that does it: a verb.
  action: string;
  // What the other one says; "Cancel" where nothing is to be canceled.
  keep?: string;
  danger?: boolean;
}

interface Asked extends Question {
  answer: (yes: boolean) => void;
}

let asked = $state.raw<Asked>();

export const question = {
  get current(): Asked | undefined {
    return asked;
  },
};

// Another view has nothing to do with the question.
addEventListener('hashchange', () => asked?.answer(false));

// Asks, and gives whether the person agreed. A second question answers the first one with no.
export function confirmed(what: Question): Promise<boolean> {
  asked?.answer(false);
  return new Promise((resolve) => {
    asked = {
      ...what,
      answer: (yes) => {
        asked = undefined;
        resolve(yes);
      },
    };
  });
}
