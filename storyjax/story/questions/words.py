"""The words of which questions about a story are made. What is in none of these lists was not understood."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SAY = _words(
    "continue continues continued say says said saying speak speaks spoke spoken speaking talk talks talked talking"
    " tell tells told telling utter utters uttered uttering voice voices voiced shout shouts shouted shouting"
    " exclaim exclaims exclaimed cry cries cried whisper whispers whispered state states stated claim claims claimed"
    " remark remarks remarked announce announces announced ask asks asked asking hear heard hearing mention mentions"
    " mentioned mentioning pronounce pronounces pronounced express expresses declare declares declared deliver"
    " delivers delivered delivering discuss discusses discussed discussing chat chats chatted chatting converse"
    " conversed conversation conversing speech complain complains complained add adds added goes quoted quote admit"
    " admits admitted explain explains explained recite recites comment comments commented open opens"
)
# Verbs that take a sentence without quotation marks: "says the plane leaves tonight".
QUOTING = _words(
    "say says said saying shout shouts shouted shouting exclaim exclaims exclaimed whisper whispers whispered state"
    " states stated claim claims claimed remark remarks remarked announce announces announced declare declares"
    " declared utter utters uttered uttering admit admits admitted complain complains complained complaining"
)
REPLY = _words(
    "answer answers answered answering reply replies replied replying respond responds responded responding react"
    " reacts reacted reacting retort retorts reaction response"
)
SEE = _words(
    "found find located locate stands stand standing sits sit sitting lies lie lying see sees seen saw seeing"
    " visible appear appears appeared appearing show shows shown showing showed present look looks there watch"
    " watched view frame picture image screen shot shots camera onscreen sight depicted featured feature features"
    " figure figures pictured appearance appearances scene scenes turn turns spot spotted display displayed displays"
    " around on-screen"
)
TOGETHER = _words(
    "together with beside besides next alongside share shares shared sharing meet meets met meeting accompany"
    " accompanies accompanied accompanying companion companions company same joined join joins near by"
    " simultaneously both jointly side keep keeps keeping presence"
)
HAPPEN = _words("happen happens happened happening occur occurs occurred goes going do does did doing done up")
ABOUT = _words(
    "about regarding concerning mention mentions mentioned mentioning discuss discusses discussed discussing"
)
AUXILIARY = _words(
    "is are was were be been being am does do did has have had can could will would may might should shall gets get got"
)
NEGATION = _words("not never n't without nobody none no")
WH = _words("who whom whose what which where when how why whoever whichever")
ORDER = {"first": 1, "firstly": 1, "last": -1, "lastly": -1, "final": -1, "finally": -1, "latest": -1, "earliest": 1}
ORDER |= {"second": 2, "third": 3, "fourth": 4, "fifth": 5, "opening": 1, "closing": -1, "initial": 1, "initially": 1}
# What comes next to something, in time.
NEXT = _words("continue continues continued next then afterwards afterward thereafter subsequently later following")
# "When Ana has finished saying ...".
OVER = _words("finish finishes finished finishing stops stopped done")
PREVIOUS = _words("previous previously before earlier beforehand")
ANYBODY = _words(
    "somebody someone anybody anyone everybody everyone people person persons character characters man woman men"
    " women speaker speakers voice all guy one others individual individuals face faces whoever role roles cast"
    " folks actor actors"
)
THING = _words("thing things object objects belonging belongings item items prop props pet pets")
SPEECH = _words(
    "word words line lines sentence sentences utterance utterances remark remarks phrase phrases quote statement"
    " statements reply answer response saying speech turn turns question dialogue text message comment"
)
PLACE = _words("place places room location locations setting settings spot scenery background surroundings whereabouts")
FILM = _words(
    "film films video videos episode episodes movie movies clip clips story stories library recording recordings"
)
PRONOUN = _words("he she they him her them his hers their theirs himself herself themselves it its")
POSSESSIVE = {"his", "her", "their", "its"}
# Words that carry nothing that changes the answer.
EMPTY = _words(
    "the a an this that these those of to in on at for from into onto and or s as so then now also ever any some"
    " very please me us you we i tell give name list find know want like exactly really actually just only each"
    " every else during there here time times moment moments point part again out off over up it its it's own which"
    " that's much many long often frequently number total amount altogether overall count counts counted seconds"
    " minutes minute hours most least more longest shortest short kind sort something anything nothing particular"
    " specific given right immediately directly shortly straight soon through whole entire entirely throughout"
    " happen turn take takes took taking place come comes came coming while when after before same back still"
    " already yet once twice thrice thing things if whether let let's could would way case fact identity called"
    " named kept keep be being seem seems such within along across between among amongst possible different distinct"
    " various several other another separate occasion occasions instance instances next previous following prior"
    " until since later earlier afterwards afterward thereafter subsequently meanwhile precise accurate start starts"
    " started begin begins began end ends ended ending beginning stop stops stopped finish finished finishes hear"
    " known course middle moment's last first it'll down english less longer shorter oftener whom apart aside except"
    " than having deliver delivers delivered whereabouts identify everything spend spends spent go true correct"
    " follow follows followed precede precedes preceded exact timestamp timestamps clock bring brings use uses used"
    " using make makes made put puts did does do is are was were has have had been can will"
)
GREETING = (
    r"^(?:please|hey|hi|hello|so|ok|okay|well)[, ]+",
    r"^(?:can|could|would|will) you (?:please )?(?:tell|show|give|name|list|find)(?: me| us)?(?: please)?[, ]+",
    r"^(?:please )?(?:tell|show|give) (?:me|us)[, ]+",
    r"^(?:i|we) (?:want|would like|'d like|need|wish) to (?:know|see|hear|find out)[, ]+",
    r"^(?:do|does) (?:you|anyone|anybody|someone) know[, ]+",
    r"^(?:i|we) wonder[, ]+",
    r"^(?:list|name|identify|find|search for|look for|give me|show)[,: ]+",
)
# How a clause begins that says when: longest first.
LINKS: tuple[tuple[str, str], ...] = (
    *(
        (f"{how} {word}", "right after")
        for how in _words("right immediately directly straight shortly soon just")
        for word in ("after", "following")
    ),
    *(
        (f"{how} {word}", "right before")
        for how in _words("right immediately directly straight shortly just")
        for word in ("before", "preceding")
    ),
    ("as soon as", "right after"),
    ("having", "right after"),
    ("in reply to", "right after"),
    ("in response to", "right after"),
    ("in answer to", "right after"),
    ("as an answer to", "right after"),
    ("as a reply to", "right after"),
    ("as a response to", "right after"),
    ("in reaction to", "right after"),
    ("subsequent to", "after"),
    ("prior to", "before"),
    ("ahead of", "before"),
    ("earlier than", "before"),
    ("later than", "after"),
    ("at the same time as", "while"),
    ("at the very moment", "while"),
    ("at the moment", "while"),
    ("in the moment", "while"),
    ("at the time", "while"),
    ("at the instant", "while"),
    ("by the time", "while"),
    ("the moment", "while"),
    ("the instant", "while"),
    ("in the scene", "while"),
    ("in the scenes", "while"),
    ("in the shot", "while"),
    ("in the shots", "while"),
    ("in the part", "while"),
    ("on the line", "while"),
    ("over the line", "while"),
    ("at the line", "while"),
    ("over the words", "while"),
    ("at the words", "while"),
    ("with the words", "while"),
    ("to the words", "while"),
    ("as long as", "while"),
    ("in the presence of", "while"),
    ("in the company of", "while"),
    ("in front of", "while"),
    ("during", "while"),
    ("while", "while"),
    ("whilst", "while"),
    ("whenever", "while"),
    ("when", "while"),
    ("as", "while"),
    ("once", "right after"),
    ("after", "after"),
    ("following", "after"),
    ("since", "after"),
    ("before", "before"),
    ("preceding", "before"),
    ("until", "before"),
    ("till", "before"),
)
EVERYTHING = frozenset().union(
    SAY,
    REPLY,
    SEE,
    TOGETHER,
    HAPPEN,
    ABOUT,
    AUXILIARY,
    NEGATION,
    WH,
    ORDER,
    ANYBODY,
    THING,
    SPEECH,
    PLACE,
    FILM,
    PRONOUN,
    EMPTY,
)
EXAMPLES = (
    'who says "where is the dog"?',
    'what does Ana say right after she says "I lost my keys"?',
    "when are Ana and Ben together?",
    "how often does Ben speak while Ana is seen?",
    "where is Ana's dog at 2:10?",
    "what happens in the first minute?",
)
