"""The held-out split's words, kept out of training: other names, nouns, verbs, arguments and phrasings."""

from aios.bench.tasks.lexicon import Lexicon


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HELDOUT = Lexicon(
    people=_words(
        "Agnes Bruno Celia Dmitri Edith Franco Giselle Henrik Irina Joaquin Katya Lorenzo Miriam Nestor Odette Pascal "
        "Rufus Selma Thora Ursula Vincent Wilma Ximena Yolanda Zachary Alba Basil Clara Dario Esther Fabian Gloria "
        "Harald Isolde Jasper Kerstin Leopold Magda Norbert Ophelia Philippa Raquel Sigrid Tobias Valentina Chloé"
    ),
    cities=_words(
        "Antwerp Bergen Bogota Calgary Denver Exeter Florence Glasgow Hobart Innsbruck Kraków Lisbon Mumbai Nantes "
        "Odense Palermo Quebec Rotterdam Salzburg Toledo Uppsala Valencia Wellington Yerevan Zurich Bremen Cusco"
    ),
    nouns=_words(
        "violin saddle kayak lantern compass anchor blanket candle carpet ladder bucket helmet jacket scarf mirror "
        "puzzle sculpture telescope microscope beehive orchard vineyard meadow glacier volcano canyon harbour lighthouse "
        "submarine helicopter balloon tricycle scooter trailer locomotive warehouse workshop bakery pharmacy laundry "
        "festival parade auction lottery tournament excursion rehearsal ceremony passport visa permit licence voucher "
        "coupon receipt warranty pension mortgage dividend ledger manuscript envelope postcard brochure crossword"
    ),
    adjectives=_words(
        "crimson purple orange ancient modern rapid gentle narrow wide round sturdy hollow shiny rough smooth distant "
        "nearby annual hourly vacant crowded noisy frozen melted foggy sunny fragile robust polished rusty wooden"
    )[:4] + _words("gentle narrow sturdy hollow shiny rough distant vacant crowded frozen foggy fragile rusty wooden"),
    verbs=_words(
        "rent borrow lend hire dispatch relocate inflate polish varnish weld assemble dismantle calibrate rewind "
        "quarantine nominate endorse audit appraise auction insure mortgage ferry tow park fold iron sew knit weave "
        "harvest prune irrigate pollinate ventilate illuminate garnish marinate roast grill catalogue annotate"
    ),
    attributes=(
        "passport number", "middle name", "ring size", "favourite song", "parking spot", "blood pressure", "cat's name",
        "bank branch", "membership code", "bus line", "library card", "coffee order", "tax number", "gate", "postcode",
        "lucky number", "safe combination", "favourite city", "shirt size", "meeting room", "serial number", "pager number",
    ),
    folders=_words("papers office garage recipes letters travel studio finance school club papers/2024 travel/maps"),
    extensions=_words("rst toml xml sql doc org tsv rtf"),
    syllables=_words(
        "bel cor dun fir gos hap jel kup lis mag nep pad rem sul tob ung vik wob yam zet bru clo dra fro gle pri sko "
        "tre blo cha shi tho wha quin ost arn elm ork und ith onk est amb olt"
    ),
    fields=_words(
        "passenger traveller vessel cargo tonnage altitude latitude longitude humidity frequency wavelength voltage "
        "gender nationality occupation employer salutation signature deposit discount surcharge penalty bonus_points "
        "checkin checkout pickup dropoff stopover luggage_count legroom cabin deck berth gate_number seat_row zipcode "
        "province county district landmark nickname alias headline caption footnote paragraph genre artist album tempo"
    ),
    modes=(
        ("bronze", "silver", "gold"), ("sunrise", "noon", "sunset"), ("aisle", "window", "middle"), ("cash", "card", "cheque"),
        ("spring", "summer", "autumn", "winter"), ("rare", "medium", "welldone"), ("gas", "electric", "hybrid"),
        ("beginner", "advanced", "expert"), ("matte", "glossy"), ("portrait", "landscape"), ("oneway", "return"),
        ("cotton", "wool", "silk"), ("vegan", "halal", "kosher"), ("solid", "liquid", "vapor"),
    ),
    openings=(
        "if possible, ", "quickly ", "for my report, ", "I was wondering, ", "one thing: ", "help me: ", "dear assistant, ",
        "when ready, ", "be so kind and ",
    ),
    closings=(" if you don't mind", ", much appreciated", " today", " would be great", ", cheers", " before lunch", " and be quick"),
    systems=(
        "You assist {person} with daily chores.", "Stay concise.", "You are an office helper in {city}.",
        "Act on the request with whatever tools are listed.", "Your name is {name}. You are a {adjective} {noun} expert.",
        "You serve the members of a {noun} club.", "Reply in one or two sentences.", "The current user is called {person}.",
    ),
    sentences=(
        "{person} from {city} keeps a {adjective} {noun} in the hall.", "Every {noun} gets the label {code}.",
        "On {date} the {noun} was handed to {person}.", "The {adjective} {noun} weighs {number} grams.",
        "Visitors of {city} see the {noun} first.", "Nobody may touch the {noun} before {date}.",
        "The shelf {code} has room for {number} pieces.", "{person} pays {number} for a {noun} and {number2} for a {noun2}.",
        "A {adjective} {noun} belongs to the club of {city}.", "Letters from {city} arrive after {number} hours.",
        "The guide {person} explains the {noun} and the {noun2}.",
    ),
    missing=("the file {path} is missing", "cannot find {path}", "nothing is stored at {path}"),
    phrases={
        "calc": ("what do you get for {e}", "[how large|how big] is {e}", "[determine|figure out] {e}", "[please, |]the value of {e}?", "can you do {e}"),
        "calc_price": ("one {noun} costs {p}. [What do|How much are] {n} of them[ cost|]?", "{n} {noun}s, {p} each: what does that cost"),
        "calc_average": ("what do {list} average", "I need the [average|mean] value of {list}"),
        "calc_sum": ("what do you get if you add {list}", "[determine|figure out] the sum of {list}"),
        "calc_more": ("what is that plus {n}", "[take|use] that times {n}", "and minus {n}", "please add {n}", "then divide it by {n}"),
        "units": ("[how many|how much] {b} do I get for {v} {a}", "please express {v} {a} as {b}", "I have {v} {a}, what is that in {b}", "[determine|figure out] {v} {a} in {b}"),
        "units_more": ("now in {b} instead", "please also in {b}"),
        "add_days": ("if I start on {d}, what is the date {n} days later", "which day comes {n} days after {d}", "[determine|figure out] the date {n} days after {d}"),
        "sub_days": ("what was the date {n} days earlier than {d}", "[determine|figure out] the date {n} days before {d}"),
        "add_weeks": ("which date comes {n} weeks after {d}", "it is {d}, what is the date in {n} weeks"),
        "days_between": ("how many days lie between {d} and {e}", "from {d} until {e}, how many days is that", "[determine|figure out] the number of days from {d} to {e}"),
        "weekday": ("is {d} a Monday or what day", "[determine|figure out] the weekday of {d}", "{d}: which day of the week is that"),
        "now": ("could I have the time", "[what date|which day] is today", "how late is it"),
        "remember": ("I want you to remember that {x}", "keep this in your notes: {x}", "do not forget: {x}", "[put down|jot down] that {x}"),
        "remember_tags": ("jot down, tagged {tags}: {x}", "keep in your notes with tags {tags}: {x}"),
        "recall": ("can you recall {x}", "I would like to know {x}", "have you noted {x}?", "look in your notes for {x}", "what was {x} again"),
        "recall_limit": ("I would like up to {n} notes on {x}", "look for {x} in your notes, at most {n}"),
        "update_note": ("the note about {x} must be changed to: {y}", "please revise the note about {x}: {y}"),
        "forget": ("please scrap the note about {x}", "the note about {x} can go, remove it"),
        "forget_id": ("please scrap note {i}", "note {i} can be removed"),
        "write": ("[please |]put {q} into a new file {p}", "I need a file {p} with the text {q}", "let {p} contain {q}", "[please |]record {q} in {p}"),
        "write_it": ("keep the result in {p}", "please put that into a file {p}"),
        "append": ("please add {q} at the end of {p}", "{p} should also have {q} at its end", "attach {q} to {p}"),
        "read": ("please look into {p} and tell me what is there", "what text is in {p}", "I want to see {p}", "how does {p} read"),
        "read_it": ("let me see it again", "what does the file say now"),
        "list": ("which files do we have", "please list my files", "what files are stored"),
        "list_in": ("which files does {f} hold", "please list what is in {f}", "what files are stored in {f}"),
        "search": ("is there a file that mentions {x}", "please look for {x} in my files", "which of my files contain {x}"),
        "history": ("tell me how many versions of {p} there are", "count the versions of {p}"),
        "rollback": ("please put {p} back to version {n}", "{p} should be as in version {n} again", "return {p} to version {n}"),
        "undo": ("please undo my last change to {p}", "{p}: take back the last change"),
        "delete": ("please get {p} deleted", "the file {p} should be removed", "I want {p} deleted"),
        "delete_it": ("please delete that file", "you can remove it now"),
        "calc_write": ("I need {e} worked out and saved in {p}", "put the value of {e} into {p}", "please calculate {e}, then write the result to {p}"),
        "read_add": ("what is the number in {p} plus {n}", "increase the number in {p} by {n} and tell me the result"),
        "read_times": ("the number in {p}, times {n}, is what", "please multiply by {n} the number in {p}"),
        "sum_files": ("please add the number in {p} to the number in {q}", "the numbers in {p} and {q}, what is their sum"),
        "read_both": ("please read me {p} as well as {q}", "what text is in {p} and what is in {q}"),
        "copy": ("I need the content of {p} in {q} too", "please copy the file {p} to {q}"),
        "move": ("please rename {p} as {q}", "the file {p} should be moved to {q}"),
        "recall_write": ("please put {x}, as noted, into {p}", "what do you know about {x}? Put it in {p}"),
        "recall_convert": ("I noted {x}: how much is it in {b}", "please look up {x} and tell me what it is in {b}"),
        "date_remember": ("what date is {n} days after {d}? Note it as {x}", "please remember as {x} the date {n} days after {d}"),
        "date_weekday": ("if it is {d}, which weekday is it {n} days later", "what day of the week comes {n} days after {d}"),
        "calc_remember": ("please work out {e} and note it as {x}", "note the value of {e} as {x}"),
        "read_remember": ("what {p} says should be noted, please", "please read {p} and keep it as a note"),
        "search_read": ("please look for the file that mentions {x} and tell me what it says", "find where {x} is mentioned and read that file"),
        "and": ("{a}, and then {b}", "{a}; besides, {b}", "please do both: {a} and {b}", "{a} plus: {b}"),
        "greet": ("good afternoon", "[hi|hello] my friend", "hey {name}, nice to meet you", "[hello|hey] assistant"),
        "abilities": ("what are your abilities",),
        "thanks": ("thanks a lot", "[wonderful|excellent], thank you", "that was helpful, thanks"),
        "who": ("tell me about yourself", "what is your name", "are you a machine"),
        "unfit": (
            "fetch me a glass of water", "ring {person} on the telephone", "how warm is it in {city}", "please put the {noun} on the roof", "post a letter to {person}",
            "rent a {noun} in {city} for me", "please water the {noun}", "show me a picture of a {noun}", "which horse won the race in {city}", "walk my {noun}",
            "pay {number} to {person}", "teach me to ride a {noun}", "open the {adjective} {noun}",
        ),
        "say": ("you should know that my {x} is {v}", "remark: my {x} is {v}", "let me tell you, my {x} is {v}"),
        "ask": ("could you say what my {x} is", "which {x} do I have", "I forgot my {x}"),
        "text": ("Here is what I know. {t}\nNow, {q}", "{t} Based on this, {q}", "Answer from this: {t}\n{q}"),
        "fact": ("for {s} the {x} is {v}", "{v} is the {x} of {s}", "as to {s}, the {x} is {v}"),
        "fact_ask": ("which is the {x} of {s}?", "I want to know the {x} of {s}", "could you name {s}'s {x}?"),
        "tool_named": ("[please |]use {tool} with {args}", "I would like you to run {tool} with {args}", "use the tool {tool}: {args}", "please call {tool}: {args}"),
        "tool_bare": ("please run {tool}", "I would like you to use {tool}"),
        "tool_told": ("please {act}: {args}", "I would like to {act} with {args}", "can you {act}, {args}", "{act} now, {args}", "please {act} with {args}"),
        "tool_told_bare": ("please {act}", "can you {act}", "I would like to {act}"),
        "tool_again": ("once again, this time with {arg}", "please repeat it with {arg}", "the same thing with {arg}"),
        "ask_field": ("which {x} came out", "I only want to know the {x}"),
    },
)
