"""Closed lists of English words that change what a question asks. Data only."""

from typing import Final


def _list(text: str) -> list[str]:
    return text.split()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS: Final = _set(
    "not no never none nobody nothing nowhere neither nor without cannot cant wont dont doesnt didnt isnt arent wasnt "
    "werent hasnt havent hadnt shouldnt wouldnt couldnt mustnt aint except unable "
    "nicht kein keine keinen keiner nie niemals ohne pas jamais sans ne sin nunca jamás non mai senza"
)

OPPOSITES: Final = tuple(
    (_set(one), _set(other))
    for one, other in (
        ("on enable enabled activate activated", "off disable disabled deactivate deactivated"),
        ("in inside incoming inbound import upload", "out outside outgoing outbound export download"),
        (
            "increase raise raised higher more upgrade up most max maximum highest",
            "decrease reduce lower less downgrade down least min minimum lowest fewer",
        ),
        ("before prior earlier", "after later since"),
        ("with including include", "without excluding exclude"),
        (
            "add create install insert start begin open join subscribe",
            "remove delete uninstall drop stop end close cancel leave unsubscribe",
        ),
        ("buy purchase receive received borrow deposit", "sell send sent lend withdraw withdrawal"),
        (
            "allow allowed accept accepted approve approved grant permit",
            "deny denied refuse refused reject rejected declined forbid block blocked revoke",
        ),
        ("lock freeze", "unlock unfreeze"),
        ("login signin", "logout signout"),
        ("hot hottest warm", "cold coldest cool"),
        ("first oldest", "last latest newest"),
        ("old older", "new newer young younger"),
        (
            "big bigger large larger largest tall taller tallest long longer longest",
            "small smaller smallest short shorter shortest little",
        ),
        (
            "good better best pro pros advantage advantages benefit benefits",
            "bad worse worst con cons disadvantage disadvantages drawback drawbacks",
        ),
        ("safe legal", "unsafe dangerous illegal"),
        ("fast faster fastest quick", "slow slower slowest"),
        ("cheap cheaper cheapest", "expensive dearest dearer"),
        ("win won gain profit", "lose lost loss"),
        ("encrypt encode compress", "decrypt decode decompress"),
        ("true correct right", "false incorrect wrong"),
        ("left", "right"),
        ("north", "south"),
        ("east", "west"),
        ("mother mom wife sister daughter woman female she her", "father dad husband brother son man male he his"),
        ("breakfast", "dinner"),
        ("credit", "debit"),
        ("arrival arrive arrives arrived", "departure depart departs departed"),
        ("read", "write"),
        ("public", "private"),
        ("vertical", "horizontal"),
        ("ascending", "descending"),
        ("client", "server"),
        ("inner", "outer"),
        ("physical", "virtual"),
    )
)
"""Two sides of one thing: a question with one is not answered by an answer for the other."""

NUMBER_WORDS: Final = {
    word: value
    for value, word in enumerate(
        _list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
} | {
    word: value
    for value, word in zip(
        range(20, 100, 10), _list("twenty thirty forty fifty sixty seventy eighty ninety"), strict=True
    )
}
MULTIPLIERS: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
OTHER_NUMBERS: Final = {"dozen": 12, "half": 0.5, "quarter": 0.25, "twice": 2, "double": 2, "triple": 3, "couple": 2}
ORDINALS: Final = {
    word: value
    for value, word in enumerate(
        _list("second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), start=2
    )
}
"""`first` is among the opposites."""

_UNITS: Final = (
    "km kilometer kilometers kilometre kilometres",
    "m meter meters metre metres",
    "cm centimeter centimeters centimetre",
    "mm millimeter millimeters",
    "mile miles mi",
    "yard yards",
    "foot feet ft",
    "inch inches",
    "kg kilogram kilograms kilo kilos",
    "g gram grams",
    "mg milligram milligrams",
    "pound pounds lb lbs £ gbp quid sterling",
    "ounce ounces oz",
    "ton tons tonne tonnes",
    "liter liters litre litres",
    "ml milliliter milliliters millilitre",
    "gallon gallons",
    "pint pints",
    "cup cups",
    "tablespoon tablespoons tbsp",
    "teaspoon teaspoons tsp",
    "celsius °c centigrade",
    "fahrenheit °f",
    "kelvin",
    "seconds sec secs",
    "minute minutes min mins",
    "hour hours hr hrs",
    "day days daily",
    "week weeks weekly",
    "month months monthly",
    "year years yearly annual annually",
    "$ dollar dollars usd buck bucks",
    "€ euro euros eur",
    "¥ yen jpy",
    "rupee rupees inr",
    "peso pesos",
    "franc francs chf",
    "yuan cny rmb",
    "cent cents",
    "bitcoin btc",
    "% percent percentage",
    "kb kilobyte kilobytes",
    "mb megabyte megabytes",
    "gb gigabyte gigabytes",
    "tb terabyte terabytes",
    "calorie calories kcal",
    "joule joules",
    "watt watts kw kilowatt kilowatts",
    "volt volts",
    "ms millisecond milliseconds",
    "acre acres",
    "hectare hectares",
    "mph",
    "kmh",
    "am",
    "pm",
    "degree degrees",
)
UNITS: Final = {word: words.split()[0] for words in _UNITS for word in words.split()}
"""Unit as written → the one it is."""

DATES: Final = {
    word: words.split()[0]
    for words in (
        "january jan",
        "february feb",
        "march",
        "april apr",
        "june jun",
        "july jul",
        "august aug",
        "september sept sep",
        "october oct",
        "november nov",
        "december dec",
        "monday mondays",
        "tuesday tuesdays tue tues",
        "wednesday wednesdays wed",
        "thursday thursdays thu thurs",
        "friday fridays fri",
        "saturday saturdays",
        "sunday sundays",
        "today",
        "tonight",
        "tomorrow",
        "yesterday",
        "weekend weekends",
        "morning mornings",
        "afternoon afternoons",
        "evening evenings",
        "night nights",
        "noon midday",
        "midnight",
        "spring",
        "summer",
        "autumn",
        "winter",
        "christmas xmas",
        "easter",
        "thanksgiving",
        "halloween",
    )
    for word in words.split()
}
"""Date word → the one it is."""

TIME_WORDS: Final = _set(
    "today tonight tomorrow yesterday now currently current latest newest recent recently nowadays upcoming "
    "heute morgen gestern jetzt aktuell derzeit aujourd'hui demain hier maintenant actuellement "
    "hoy mañana ayer ahora actualmente oggi domani ieri adesso attualmente"
)
"""Words whose question has another answer at another time."""

RELATIVE: Final = _set("next last this past coming previous")
PERIODS: Final = _set("week month year quarter weekend day decade century semester season hour minute")

ASKING: Final = {"who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why"}
"""What is asked for, where a word alone says it."""

FUNCTION_WORDS: Final = _set(
    "a an the of to in on at for from by with about into over and or but if then than as is are was were be been being "
    "am do does did doing have has had having can could will would shall should may might must i me my mine we us our "
    "you your yours he him his she her hers it its they them their this that these those there here what which who "
    "whom whose when where why how please tell show give know need want like get got just so very really also too any "
    "some "
    "all each every both such only own same s t ll ve re d m let lets hey hi hello thanks thank ok okay "
    "ich du er sie es wir ihr der die das ein eine und oder ist sind war le la les un une des et ou est sont je tu il "
    "elle nous vous el los las una y o es son yo"
)

LANGUAGES: Final = {
    "en": _set("the is are what how do does my i you can of to and in for a it that this with on have not"),
    "de": _set("der die das ist sind was wie ich du kann und in für ein eine nicht mit auf mein meine zu es wo"),
    "fr": _set("le la les est sont que quoi comment je tu vous peux et dans pour un une ne pas avec mon ma des"),
    "es": _set("el la los es son qué que cómo como yo tu puedo y en para un una no con mi de por mis"),
    "it": _set("il lo la è sono che cosa come io tu posso e in per un una non con mio mia di gli"),
    "pt": _set("o os a as é são que como eu você posso e em para um uma não com meu minha de"),
    "nl": _set("de het een is zijn wat hoe ik jij kan en in voor niet met op mijn van te"),
}
"""Frequent short words by language."""
