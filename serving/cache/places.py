"""Names that people write without capitals: countries, cities, states, peoples, languages. Data only."""

from typing import Final

_ONE_WORD: Final = """
afghanistan albania algeria andorra angola argentina armenia australia austria azerbaijan bahamas bahrain bangladesh
barbados belarus belgium belize benin bhutan bolivia bosnia botswana brazil brunei bulgaria burundi cambodia cameroon
canada chad chile china colombia comoros congo croatia cuba cyprus czechia denmark dominica ecuador egypt england
eritrea estonia eswatini ethiopia fiji finland france gabon gambia georgia germany ghana greece greenland grenada
guatemala guinea guyana haiti honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan
jordan kazakhstan kenya kiribati kosovo kuwait kyrgyzstan laos latvia lebanon lesotho liberia libya liechtenstein
lithuania luxembourg madagascar malawi malaysia maldives mali malta mauritania mauritius mexico moldova monaco
mongolia montenegro morocco mozambique myanmar namibia nepal netherlands nicaragua niger nigeria norway oman pakistan
palau palestine panama paraguay peru philippines poland portugal qatar romania russia rwanda samoa scotland senegal
serbia seychelles singapore slovakia slovenia somalia spain sudan suriname sweden switzerland syria taiwan tajikistan
tanzania thailand togo tonga tunisia turkey turkmenistan tuvalu uganda ukraine uruguay uzbekistan vanuatu vatican
venezuela vietnam wales yemen zambia zimbabwe uk usa uae europe asia africa america alabama alaska arizona arkansas
california colorado connecticut delaware florida hawaii idaho illinois indiana iowa kansas kentucky louisiana maine
maryland massachusetts michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon
pennsylvania tennessee texas utah vermont virginia washington wisconsin wyoming ontario quebec abuja accra amsterdam
ankara antwerp athens atlanta auckland austin baghdad bali baltimore bangalore bangkok barcelona basel beijing beirut
belgrade bergen berlin bern birmingham bogota bologna bombay bordeaux boston bratislava brisbane bristol brooklyn
brussels bucharest budapest cairo calgary cambridge canberra caracas cardiff casablanca charlotte chennai chicago
cincinnati cleveland cologne copenhagen dakar dallas damascus delhi denver detroit doha dresden dubai dublin
dusseldorf edinburgh edmonton florence frankfurt geneva genoa glasgow hamburg hanoi havana helsinki honolulu houston
hyderabad indianapolis istanbul jakarta jerusalem johannesburg karachi kathmandu kiev kyiv kolkata krakow lagos lahore
leeds lille lima lisbon liverpool london lyon madrid manchester manhattan manila marrakech marseille melbourne memphis
miami milan milwaukee minneapolis montreal moscow mumbai munich nairobi naples nashville nice osaka oslo ottawa oxford
paris perth philadelphia phoenix pittsburgh porto portland prague pretoria reykjavik riga rome rotterdam sacramento
salzburg santiago sarajevo seattle seoul seville shanghai sheffield shenzhen sofia stockholm stuttgart sydney tallinn
tampa tehran tokyo toronto toulouse tripoli tucson tulsa tunis turin utrecht valencia vancouver venice vienna vilnius
warsaw wellington winnipeg zagreb zurich american australian austrian belgian brazilian british canadian chinese cuban
czech danish dutch egyptian english ethiopian finnish french german greek hungarian indian indonesian irish israeli
italian japanese korean lebanese mexican moroccan nigerian norwegian pakistani peruvian polish portuguese romanian
russian scottish spanish swedish swiss syrian thai turkish ukrainian vietnamese welsh arabic hebrew hindi mandarin
cantonese swahili latin tagalog persian urdu bengali visa mastercard amex paypal apple google microsoft amazon
facebook netflix samsung android iphone ipad windows linux macos ubuntu python java javascript typescript rust golang
ruby php kotlin swift perl scala mysql postgres postgresql mongodb redis sqlite docker kubernetes aws azure gcp github
gitlab bing chrome firefox safari uber lyft
"""

PLACES: Final = frozenset(_ONE_WORD.split())
"""Names of one word, in lower case."""
