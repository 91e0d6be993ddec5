"""The app: a story in the browser, with search, questions and corrections; nothing leaves the machine."""
