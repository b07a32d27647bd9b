// Lists of services: stars, the choice to compare, and where the focus goes when rows are replaced.
import { startAdding, startCompare } from "./market-compare.js";
import { startFocus } from "./market-focus.js";
import { startWatch } from "./market-watch.js";

startFocus();
startWatch();
startCompare();
startAdding();
