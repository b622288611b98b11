"""The training split's words. Nothing here may stand in `heldout.py`; a test compares them."""

from aios.bench.tasks.lexicon import Lexicon


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAIN = Lexicon(
    people=_words(
        "Marta Jonas Aiko Pedro Lina Oskar Priya Tomas Nadia Felix Greta Hugo Ines Karim Leila Mateo Nora Olga Paul "
        "Quinn Rosa Stefan Tara Umar Vera Wendy Xenia Yusuf Zoe Anton Beatriz Carlos Dora Emil Fatima Goran Hana Igor "
        "Julia Kwame Lars Mina Nils Otto Petra Ravi Sofia Theo Ulla Viktor Adele Boris Chen Diego Elsa Farid Gina "
        "Hamid Ilse Jamal Kira Luis Mei Noah Orla Pavel Rana Samir Tilda Usha Vito Walt Yara Zane Abel Bea Cody Dina "
        "Eric Flora Gus Helen Ivan Judy Kurt Lily Mark Nina Omar Pia Rolf Sara Tim Una Vic Will Amy Bob Carl Dan Eve "
        "José Zoë Björn Müller Ángel Renée"
    ),
    cities=_words(
        "Oslo Lima Kyoto Porto Graz Turin Lagos Quito Perth Dover Basel Ghent Cairo Delhi Hanoi Izmir Jena Kiel Lyon "
        "Milan Nice Osaka Paris Riga Sofia Tunis Ulm Varna Wuhan York Zagreb Accra Bonn Cork Davos Essen Fargo Genoa "
        "Haifa Ibiza Juba Kobe Leeds Malmo Nairobi Omaha Prague Reno Seoul Tampa Utica Vienna Warsaw Xiamen Berlin "
        "Madrid Boston Chicago Dublin Geneva Havana Jakarta Kabul London Moscow Naples Oxford Rome Sydney Tokyo"
    ),
    nouns=_words(
        "table flight room order invoice parcel ticket report meeting lamp door window camera sensor engine pump valve "
        "robot drone server database backup password contract payment refund customer supplier product recipe meal "
        "coffee pizza song playlist movie book article photo video map route taxi train bus bike car truck ship garden "
        "plant tree lawn fence roof wall floor kitchen oven fridge heater fan light alarm lock key card account loan "
        "tax budget salary bonus stock share fund coin wallet bank branch office desk chair printer scanner phone "
        "message email letter newsletter survey poll vote form survey lesson course exam grade student teacher class "
        "school library museum concert match game score team player coach league tournament hotel hostel cabin tent "
        "beach lake river bridge tunnel tower weather forecast storm rain snow temperature pressure signal channel "
        "station antenna battery charger cable screen keyboard mouse pixel image font color layer canvas brush sketch "
        "poem story chapter word sentence language translation voice speech meeting calendar event reminder task "
        "project milestone sprint ticket bug patch release build test log metric dashboard alert queue job worker "
        "container cluster node pod volume snapshot image region zone domain certificate token session user group role "
        "dog cat horse cow sheep goat hen bee fish bird nest seed crop field barn tractor harvest wheat corn apple "
        "pear grape wine beer juice tea milk bread cheese soup salad cake pie candy vitamin pill dose clinic doctor "
        "nurse patient ward bed surgery blood sample lab assay gene cell protein enzyme virus vaccine"
    ),
    adjectives=_words(
        "red blue green old new small large quick slow heavy light round flat warm cold dry wet early late open "
        "closed public private local remote main spare daily weekly urgent silent bright dark soft hard plain fresh "
        "golden silver hidden broken empty full final first second north south east west upper lower inner outer"
    ),
    verbs=_words(
        "book reserve cancel order buy sell send deliver ship track find search look_up get fetch show list check "
        "inspect measure count start stop pause resume open close lock unlock turn_on turn_off set change update edit "
        "rename move copy delete remove add create make build print scan upload download publish share post submit "
        "approve reject assign invite call notify remind schedule plan translate summarize rate review compare sort "
        "filter encode decode compress extract convert paint draw play record mix cook bake water feed clean repair "
        "replace charge refund pay transfer deposit withdraw estimate predict verify sign register enroll subscribe"
    ),
    attributes=(
        "phone number", "birthday", "favourite colour", "favourite food", "address", "shoe size", "email", "door code",
        "locker number", "seat", "car", "job", "hobby", "dog's name", "desk", "budget", "wifi password", "team",
        "flight number", "account number", "height", "hometown", "favourite book", "room", "badge number", "blood type",
        "customer id", "invoice number", "project name", "deadline", "license plate", "username", "nickname", "order code",
    ),
    folders=_words(
        "notes docs data reports work home tmp logs archive drafts lists plans music projects team inbox out src web "
        "books tests misc old new shared private notes/2025 docs/team data/raw work/q1 home/bills"
    ),
    extensions=_words("txt md csv log json yaml cfg ini dat html py tex list note"),
    syllables=_words(
        "ba be bi bo bu da de do du fe fi fo gi go gu ka ke ki ko ku la le li lo lu ma me mi mo mu na ne "
        "no nu pa pi po pu ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo za ze zo zu bra cri dro "
        "fle gra kly mor nim pol quo ras ster tra vel wen xan yor zik lon mar tin vas dek fus hol jin kra lum"
    ),
    fields=_words(
        "city name person date day time count amount number size level color price limit room code id email title "
        "subject text body message topic language source target unit width height weight depth speed angle rate "
        "duration start end from_date to_date guest guests seats nights rooms owner author category tag status priority "
        "region zone channel device model version format quality volume key value label note comment reason address "
        "street country phone account currency percent score rank page row column order_id user_id item_id sku "
        "quantity threshold temperature pressure mode kind type brand flavor material shape destination origin"
    ),
    modes=(
        ("low", "medium", "high"), ("red", "green", "blue"), ("small", "medium", "large"), ("fast", "slow"),
        ("asc", "desc"), ("json", "csv", "xml"), ("public", "private"), ("daily", "weekly", "monthly"),
        ("north", "south", "east", "west"), ("economy", "business", "first"), ("on", "off", "auto"),
        ("draft", "final"), ("left", "right", "center"), ("hot", "cold", "warm"), ("usd", "eur", "gbp", "jpy"),
        ("breakfast", "lunch", "dinner"), ("car", "train", "plane", "bus"), ("open", "closed", "all"),
        ("happy", "sad", "neutral"), ("metric", "imperial"), ("single", "double", "suite"), ("en", "de", "fr", "es"),
        ("pdf", "png", "svg"), ("eco", "boost", "normal"), ("urgent", "normal", "later"), ("male", "female", "any"),
    ),
    openings=(
        "please ", "Please ", "hey, ", "Hi, ", "could you ", "Could you ", "can you ", "Can you ", "I need you to ",
        "I want you to ", "would you ", "now ", "Now ", "ok, ", "quick: ", "Next, ", "I'd like you to ", "go ahead and ",
        "kindly ", "pls ", "then ", "also ", "Hello! ", "yo ", "So, ",
    ),
    closings=(
        " please", " thanks", " for me", ", thanks", ", please", " now", " right away", " when you can", "!", " ok?",
        " asap", ". Thank you", " thx", " if you can",
    ),
    systems=(
        "You are a helpful assistant. Use the tools when they help, then answer briefly.",
        "You are a helpful assistant.", "Answer briefly.", "You are an agent with tools.", "Be polite and short.",
        "You are a careful agent. Call a tool when it is needed.", "You work for {person}.", "Today is {date}.",
        "You are {name}, an assistant of {person} in {city}.", "Use tools. Do not guess.", "You help people at work.",
        "Solve the task step by step with the tools you have.", "You are a bot of the {noun} department.",
        "The user is {person}. Help with what they ask.", "You are an operating system agent.", "Think, act, answer.",
        "You are a support agent of a {adjective} {noun} company in {city}. Be friendly.", "Only use the tools in view.",
    ),
    sentences=(
        "The {adjective} {noun} is checked by {person} every {number} days.", "Our office in {city} opens at {number}.",
        "Never talk about the {noun} of {person}.", "Customers from {city} often ask for a {adjective} {noun}.",
        "The rule {code} applies to every {noun}.", "{person} and {person2} share the {noun}.",
        "A {noun} costs {number} in {city}.", "If the {noun} is {adjective}, tell {person}.",
        "Keep the {noun} {adjective} at all times.", "In {city} the {noun} was {adjective} until {date}.",
        "Policy {code}: a {noun} must not be {adjective}.", "{person} moved to {city} on {date}.",
        "We sell the {adjective} {noun} for {number} and the {noun2} for {number2}.",
        "Write to {person} when the {noun} number {number} is late.", "All staff wear a {adjective} badge.",
        "The company was founded by {person} in {city}.", "Refunds for a {noun} take {number} days.",
        "The warehouse holds {number} of the {noun} kind.", "Meetings about the {noun} are led by {person}.",
        "Do not mix the {adjective} {noun} with the {noun2}.",
    ),
    missing=(
        "there is no file {path}", "no file named {path}", "no such file: {path}", "{path} does not exist",
        "file '{path}' was not found", "there is no file '{path}' here", "no file at '{path}'", "not found: {path}",
    ),
    phrases={
        "calc": (
            "[what is|what's|calculate|compute|work out|how much is|evaluate|solve|find|tell me|give me] {e}",
            "{e}", "{e} = ?", "[i need|I want] the [result|value|answer] of {e}", "[do|run] the [sum|math]: {e}",
            "use the calculator for {e}", "[what does|what would] {e} [give|make|come to]?",
        ),
        "calc_price": (
            "[I|We] [buy|order|sell] {n} {noun}s [at|for] {p} each, [how much is that|what is the total|what do I pay]?",
            "{n} {noun}s cost {p} each. [Total|What is the total price|How much in all]?",
            "what [is the price of|do I pay for] {n} {noun}s at {p} [each|a piece|per piece]?",
        ),
        "calc_average": (
            "[what is|calculate|find|give me|compute] the [average|mean] of {list}",
            "[average|mean] of {list}?",
        ),
        "calc_sum": ("[what is|calculate|find|give me] the [sum|total] of {list}", "[add up|sum up|add|sum] {list}"),
        "calc_more": (
            "[now |and |then ]add {n} to [that|it|the result]", "[and |now ]multiply [that|it|the result] by {n}",
            "[now |and ]subtract {n} from [that|it]", "[and |now ]divide [that|it|the result] by {n}",
            "[and|now|what about] [that|it] plus {n}", "[and |now ][that|it] times {n}", "[that|it] minus {n}",
        ),
        "units": (
            "[convert|change|turn] {v} {a} [to|into|in] {b}", "[what is|what's|how much is] {v} {a} in {b}",
            "how many {b} [are|is|make] {v} {a}", "{v} {a} [to|in] {b}", "[give|show|tell] me {v} {a} in {b}",
            "[I need|express] {v} {a} in {b}",
        ),
        "units_more": ("[and|now] in {b}?", "what about [in ]{b}?", "[and|how much is that] in {b}", "the same in {b}"),
        "add_days": (
            "[what|which] date is {n} days after {d}", "[what is|find|give me] the date {n} days [after|from] {d}",
            "[add|count] {n} days to {d}", "{d} plus {n} days", "[what day|when] is it {n} days after {d}?",
        ),
        "sub_days": (
            "[what|which] date is {n} days before {d}", "[what is|find|give me] the date {n} days before {d}",
            "{d} minus {n} days", "go back {n} days from {d}",
        ),
        "add_weeks": ("[what|which] date is {n} weeks after {d}", "add {n} weeks to {d}", "{d} plus {n} weeks"),
        "days_between": (
            "how many days [are there ]between {d} and {e}", "how many days from {d} to {e}",
            "[count|give me|find] the days [between|from] {d} [and|to] {e}", "days between {d} and {e}?",
            "how long is it from {d} to {e}",
        ),
        "weekday": (
            "[what|which] [weekday|day of the week|day] [is|was|will be] {d}", "{d} is [what|which] weekday?",
            "[tell me|find|give me] the [weekday|day of the week] of {d}", "[on which|on what] day [does|did] {d} fall",
        ),
        "now": (
            "what time is it", "what [is the|'s the] [date|time|day] [today|now]?", "[tell|give] me the [current |]time",
            "[today's date|current time|date and time]?", "what day is [it|today]?", "which date do we have [today|now]",
        ),
        "remember": (
            "[remember|note|keep in mind|memorize|don't forget] that {x}", "[make|take|keep] a note[ that|:] {x}",
            "[please store|save|note down|write down|remember]: {x}", "for later: {x}", "[add|save] [a|this] note: {x}",
            "[remember|store|keep] this: {x}",
        ),
        "remember_tags": (
            "[remember|note] that {x}, [with the tags|tagged|tags] {tags}", "[keep|save|make] a note [tagged|with tags] {tags}: {x}",
            "[remember|note|keep]: {x} (tags: {tags})",
        ),
        "recall": (
            "[what is|what's|tell me|do you know|do you remember|look up|find|give me] {x}", "what did I [say|tell you] about {x}",
            "[recall|remind me of|check your notes for|search your notes for] {x}", "{x}?", "[what do my notes say|any note] about {x}",
            "I forgot {x}, what [is|was] it?",
        ),
        "recall_limit": (
            "[find|show|recall|give me] [at most|up to] {n} notes about {x}", "search my notes for {x}, [at most|limit|max] {n}",
        ),
        "update_note": (
            "[update|change|correct|fix] the note about {x}: {y}", "[change|replace] [my note|the note] [on|about] {x} to: {y}",
            "the note about {x} is [wrong|old|outdated], it should say: {y}", "{x} changed. [Now|Update the note]: {y}",
        ),
        "forget": (
            "[forget|delete|remove|drop|erase] the note about {x}", "[forget|remove|delete] what [I said|you know|I told you] about {x}",
            "[get rid of|throw away] [my|the] note [on|about] {x}",
        ),
        "forget_id": ("[forget|remove|delete|drop] note {i}", "[delete|remove|forget] [the note ]{i}"),
        "write": (
            "[write|save|put|store] {q} [to|in|into] [the file ]{p}", "[create|make] [a file|the file|a file called|a new file] {p} [with the text|that says|containing|with content|with] {q}",
            "[in|into] {p} [write|put|save] {q}", "[write|make|save] a file {p}: {q}", "[overwrite|replace] {p} with {q}", "set the content of {p} to {q}",
        ),
        "write_it": ("[save|write|put|store] [that|it|the result|the answer] [to|in|into] {p}", "[now|and] [write|save] [it|that] to {p}"),
        "append": (
            "[append|add] {q} to [the file |the end of |]{p}", "[add|append] the line {q} to {p}", "at the end of {p} [add|write] {q}",
            "[put|attach] {q} at the end of {p}", "extend {p} with {q}",
        ),
        "read": (
            "[what is|what's|what does it say] in [the file |]{p}", "[read|open|show|print|display|cat|view] [me ]{p}", "[read|show me|give me] [the content of |the file |]{p}",
            "what does {p} [say|contain]", "[show|tell me] what {p} [says|contains]", "[I need|let me see] the [content|text] of {p}",
        ),
        "read_it": ("[read|show|print] it[ again|]", "what does it say[ now|]?", "[now |and ]read [the file|it back]", "what is in [it|that file] now?"),
        "list": (
            "[list|show|what are] [all |my |the |]files", "[which|what] files [are there|do I have|exist]", "[ls|dir]", "[give|show] me [a list of |all |]my files",
        ),
        "list_in": (
            "[list|show] [the |all |]files in {f}", "[which|what] files are in [the folder |]{f}", "[what is|what's] in the folder {f}", "ls {f}",
            "[show|list|look into] the folder {f}",
        ),
        "search": (
            "[which|what] files [mention|contain|have|talk about] {x}", "[search|look] [my files |the files |]for {x}", "[find|show] [the |all |]files [with|that contain|that mention|about] {x}",
            "where [did I write|is something] about {x} in my files", "in which file [is|did I mention] {x}",
        ),
        "history": (
            "how many versions does {p} have", "[show|list|what is] the [history|versions] of {p}", "[number|count] of versions of {p}?", "how often was {p} [changed|saved]",
        ),
        "rollback": (
            "[roll back|revert|restore|reset|set back] {p} to version {n}", "[bring back|restore|go back to|get back] version {n} of {p}",
            "[I want|give me] version {n} of {p} back", "make version {n} of {p} the current one",
        ),
        "undo": ("undo the last change [to|of] {p}", "[go back to|restore] the [previous|last] version of {p}", "revert the [last change|last edit] [of|to|in] {p}"),
        "delete": (
            "[delete|remove|erase|rm|drop] [the file |]{p}", "[get rid of|throw away] [the file |]{p}", "I [don't|no longer] need {p}[ any more|], delete it", "{p} can be deleted",
        ),
        "delete_it": ("[now |]delete [it|that file|the file]", "[remove|erase] [it|that file] again"),
        "calc_write": (
            "[calculate|compute|work out] {e} and [write|save|store|put] the [result|answer] [to|in|into] {p}", "[save|write|put|store] the result of {e} [in|to|into] {p}",
            "{e} = ? [Write|Save] it to {p}", "what is {e}? [Save|Write|Put] the [answer|result] in {p}",
        ),
        "read_add": (
            "[read|open|look at] {p} and [add {n} to the number in it|add {n}]", "[take|get] the number in {p} [and add|plus] {n}", "add {n} to the number [in|from] {p}",
        ),
        "read_times": ("[read|take|get] the number [in|from] {p} and multiply it by {n}", "multiply the number in {p} by {n}", "what is {n} times the number in {p}"),
        "sum_files": ("[add|sum|sum up|add up] the numbers in {p} and {q}", "what is the sum of the numbers in {p} and {q}", "read {p} and {q} and add [them|the numbers]"),
        "read_both": ("[read|show|open] {p} and {q}", "what [is|do they say] in {p} and {q}", "[show|give] me [the content of |]{p} and {q}"),
        "copy": ("copy {p} to {q}", "[make|save] a copy of {p} [as|in|at] {q}", "[write|put|save] the content of {p} into {q}", "duplicate {p} as {q}"),
        "move": ("[move|rename] {p} to {q}", "change the name of {p} to {q}"),
        "recall_write": ("[write|save|put] {x} from your notes [to|in|into] {p}", "look up {x} and [write|save|put] it [in|to|into] {p}", "[find|recall] {x} and [save|write] it to {p}"),
        "recall_convert": ("[recall|look up|find] {x} and [convert it to|give it in] {b}", "what is {x} in {b}", "[convert|change] {x} from your notes to {b}"),
        "date_remember": (
            "[find|work out|calculate] the date {n} days after {d} and remember it as {x}", "remember the date {n} days after {d} as {x}", "{x} is {n} days after {d}. [Find the date and note it|Note the date]",
        ),
        "date_weekday": ("[which|what] weekday is {n} days after {d}", "[find|tell me] the weekday {n} days after {d}", "{n} days after {d} is [which|what] day of the week"),
        "calc_remember": ("[calculate|compute|work out] {e} and remember [it|the result] as {x}", "remember the result of {e} as {x}"),
        "read_remember": ("[read|open] {p} and [remember|note|keep] what it says", "[remember|make a note of] what is in {p}"),
        "search_read": ("[find|search for] the file [about|that mentions|with] {x} and read it", "which file mentions {x}, and what does it say"),
        "and": ("{a} and {b}", "{a}, and {b}", "{a}. {b}", "{a}; {b}", "two things: {a}, and {b}", "{a}, also {b}", "{a}\n{b}", "first {a}, second {b}"),
        "greet": (
            "[hi|hello|hey|good morning|good evening|hi there|greetings|hello there|howdy|good day|hey there]", "[hello|hi], how are you?", "[hi|hello|hey] {name}", "[hello|hi|hey] [there |]bot",
        ),
        "abilities": ("what can you do", "[what|which] tools do you have", "[help|how can you help me]", "[tell|show] me what you can do", "what are you able to do", "[list|name] your tools"),
        "thanks": ("[thanks|thank you|thx|great, thanks|many thanks|perfect, thank you|cool, thanks|ok thanks]", "thank you[ so much| very much|]", "[nice|good|great] [work|job]"),
        "who": ("who are you", "what are you", "[are you|r u] a [bot|robot|human|person]", "[tell me|say] who you are", "introduce yourself"),
        "unfit": (
            "order me a {noun}", "[call|phone] {person} [now|at {number}|]", "[send|write] an email to {person}", "what is the weather in {city}", "[play|put on] [some music|a song]",
            "book a {noun} in {city}", "[turn on|switch off] the {noun}", "draw me a {adjective} {noun}", "who won the {noun} in {city}", "buy {number} {noun}s", "translate {name} into French",
            "[repair|clean|paint] my {noun}", "what is the price of a {noun} in {city}", "take me to {city}", "tell me the news from {city}", "[sing|dance|cook] for {person}",
            "how tall is the {noun} in {city}", "reserve a {adjective} {noun} for {person}", "scan the {noun} for viruses", "track my {noun} {code}",
        ),
        "say": ("my {x} is {v}", "[just so you know|by the way|fyi|note], my {x} is {v}", "{v} is my {x}", "I have a new {x}: {v}", "Hi, my {x} is {v}"),
        "ask": ("what [is|was] my {x}", "do you [know|remember] my {x}", "tell me my {x}", "[remind me|say again], what is my {x}?", "my {x}?"),
        "text": ("{t}\n{q}", "{t} {q}", "[Text|Context|Given|Read this|Info]: {t}\n[Question: |]{q}", "{q}\n{t}", "[From the text|Here is a text]: \"{t}\" {q}"),
        "fact": ("the {x} of {s} is {v}", "{s} has the {x} {v}", "{s}: {x} {v}", "{s}'s {x} is {v}"),
        "fact_ask": ("what is the {x} of {s}?", "which {x} does {s} have?", "{s}'s {x}?", "tell me the {x} of {s}", "what is {s}'s {x}?"),
        "tool_named": (
            "[use|call|run] {tool} [with|for|using] {args}", "{tool} {args}", "[use|try] the {tool} tool: {args}", "run {tool}, {args}", "{tool} with {args}", "with {tool}: {args}", "[call|use] {tool} ({args})",
        ),
        "tool_bare": ("[use|call|run|try] [the tool |]{tool}", "{tool}", "run the {tool} tool"),
        "tool_told": ("{act} [with|for|using] {args}", "{act}: {args}", "{act}, {args}", "{act} ({args})", "{act} {args}", "I [want|need|would like] to {act}, {args}", "[let's|time to] {act}: {args}", "{args}: {act}"),
        "tool_told_bare": ("{act}", "I [want|need] to {act}", "[let's|time to|you should] {act}"),
        "tool_again": ("[the same|same|again|and] [for|with|but with|now with] {arg}", "[now|do it again|once more] with {arg}", "and [what about|how about|for] {arg}?", "[repeat that|do that again] with {arg}"),
        "ask_field": ("[what is|tell me|give me|I need|I want] the {x}", "what {x} does it give", "and what is the {x}?"),
    },
)
