"""Words that say what kind of work a prompt asks for: data, one line a kind."""

from typing import Final

_WORDS: Final = {
    "number_words": "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty "
    "hundred thousand million dozen couple pair",
    "multipliers": "half halves third quarter twice thrice double doubles doubled triple tripled times tenth fifth",
    "comparisons": "more less fewer than older younger faster slower longer shorter greater smaller bigger most least "
    "better best worst larger largest smallest highest lowest",
    "conditions": "if when unless until while whenever assuming suppose given provided otherwise",
    "order": "then after before first next finally later earlier last initially originally already now",
    "totals": "total altogether sum average mean difference remaining remain left rest combined together overall",
    "rates": "each every per apiece rate daily weekly monthly yearly hourly",
    "times": "second seconds minute minutes hour hours day days week weeks month months year years",
    "money_words": "dollar dollars cent cents cost costs price paid pay pays spend spends spent earn earns profit",
    "changes": "gives gave give buys bought buy sells sold sell loses lost adds added takes took increases increased "
    "decreases decreased eats ate uses used",
    "negations": "not no never none neither nor without cannot except excluding false incorrect n't isn doesn don",
    "absolutes": "always all only every must any entirely necessarily completely both",
    "hedges": "may might could probably likely possible generally usually often sometimes could would should",
    "reasons": "why because explain therefore thus hence reason justify prove show derive argue infer conclude follows",
    "asks": "what which who where how whose whom",
    "amounts": "many much",
    "statements_about": "statement statements following true argument claim conclusion premise best describes",
    "code_words": "function class python java javascript sql code bug error compile algorithm array loop variable "
    "return regex api",
    "maths_words": "equation solve integral derivative matrix probability theorem polynomial vector prime modulo angle "
    "triangle graph percent percentage ratio fraction",
    "writing": "write essay story poem draft email letter rewrite summarize summarise translate paraphrase article",
    "formats": "json yaml csv xml table list bullet markdown format schema html",
    "logic": "implies iff exists valid invalid fallacy logically proposition",
    "articles": "the a an",
    "english": "of and to in is that for it as was with be by on are this from at which or he she his her they their",
    "other_languages": "der die und das ist nicht mit für ein eine le la les des est et une pour dans que el los las "
    "una por con para del il di che non per sono",
    "courtesy": "please thanks hello hi help",
}

KINDS: Final = tuple(_WORDS)
"""Every kind of word."""

KIND_OF: Final = {
    word: tuple(number for number, words in enumerate(_WORDS.values()) if word in words.split())
    for words in _WORDS.values()
    for word in words.split()
}
"""Word → the kinds it counts for."""
