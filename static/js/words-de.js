// Made by `python -m scripts.messages compile`; the translations are in locale/.
import { learn } from "./words.js";

learn({

});
