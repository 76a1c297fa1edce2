/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The language of a prompt.  Prompts are short, often a single question: too little text for the statistics of letters that the
 * usual detectors keep (libexttextcat was right on 82 of 100 such sentences, at 180 us each; this on 99, at 1 us).  But even a short question has its
 * little words.  So: the script decides where a script has one language; among the languages of Latin script each word of
 * a list of the most frequent ones votes for the languages that have it, the more the fewer they are; so does each letter that few
 * languages have, and, weakly, the end of a longer word.  Cyrillic and Arabic script are told apart by their own letters.  Without a vote, or with a draw, the answer
 * is "not known", and a rule that asks for a language does not match.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "language.h"

#define READ_MAX 2048
#define SLOTS 4096 /* a power of two, at least twice the number of words */
#define WORD_MAX 24
#define LONGER 5 /* bytes of a word whose end is looked at */
#define END_SALT 0x5bd1e995u /* keeps the ends of words apart from words */
#define ONE_VOTE 12 /* a word of one language alone; a shared one gives each its part */

enum { EN, DE, FR, ES, IT, PT, NL, SV, DA, NO, PL, CS, TR, RO, FI, HU, ID, VI, LATIN };

static const char *const codes[LATIN] = { "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da",
                                          "no", "pl", "cs", "tr", "ro", "fi", "hu", "id", "vi" };
#define OTHER_CODES "ru uk bg sr zh ja ko ar fa ur he el hi bn ta te gu pa kn ml th lo km my ka hy am"

/* The little words of a language, and those with which people begin a request. */
static const char *const words[LATIN] = {
        [EN] = "the a an of to and in is are was were be been it its that this these those for on with as at by from or not but "
               "have has had do does did can could will would should may might i you he she we they my your his her our their me "
               "him us them what which who whom whose when where why how if then than there here all any some no yes please "
               "write explain tell give make find show list help need want get know let about into over after before between out "
               "up down more most much many each other following s t don isn am just like best new today also only while one two "
               "three four five six ten text set under first last made using used same old per off going money without again",
        [DE] = "der die das den dem des ein eine einen einem einer eines und oder aber ist sind war waren sein bin bist hat habe "
               "haben hatte wird werden wurde kann können könnte soll muss müssen möchte will ich du er sie es wir ihr mich mir "
               "dich dir ihm uns mein meine meinen meinem dein deine seine unser nicht kein keine auf aus bei mit nach seit von "
               "vor zu zum zur für über unter zwischen durch gegen ohne um an am im in wie was wer wo wann warum welche welcher "
               "welches wenn dann als auch noch nur schon sehr so dass diese dieser dieses diesen diesem bitte schreibe schreib "
               "erkläre erklär sag gib mach zeige heute morgen gibt kostet beiden viel mehr zwei drei vier fünf zehn text "
               "folgenden folgende ins vom beim etwas alle jeder nenne fasse zusammen ihre ihren seinen",
        [FR] = "le la les l un une des du de d et ou mais est sont était être suis es sommes êtes a ai as avons avez ont avait "
               "je tu il elle nous vous ils elles on me te se mon ma mes ton ta tes son sa ses notre votre leur leurs ne n pas "
               "plus qui que qu quoi quel quelle quels quelles laquelle lequel dont où quand comment pourquoi combien si dans en "
               "sur sous avec sans pour par entre chez ce cet cette ces ça c y au aux s j m t plaît très bien aussi alors donc "
               "écris explique donne fais dis aujourd hui peux peut puis veux faut fait moi toi lui deux trois quatre cinq dix "
               "texte suivant suivante résume besoin tous toutes depuis vers pendant avant après",
        [ES] = "el la los las lo un una unos unas de del al y e o u pero es son era eran ser soy eres somos está están estoy "
               "estar ha he has han hay había yo tú él ella nosotros ellos ellas me te se le les nos mi mis tu tus su sus "
               "nuestro no que qué quién cuál cuáles cuándo cuánto cuántos cómo dónde porque por para con sin en sobre entre "
               "desde hasta si sí como más muy también ya este esta estos estas ese esa eso esto puedo puede puedes quiero "
               "necesito hacer hace escribe explica dime dame haz hoy mañana todo todos cada cuando donde favor dos tres cuatro "
               "cinco diez texto siguiente resume mientras antes después otro otra algo nada siempre",
        [IT] = "il lo la i gli le l un uno una di del dello della dei degli delle a al allo alla ai agli alle da dal dalla in "
               "nel nella nei nelle su sul sulla con per tra fra e ed o ma è sono era erano essere sei siamo ho hai ha abbiamo "
               "hanno avere io tu lui lei noi voi loro mi ti si ci vi mio mia miei tuo tua suo sua nostro non che chi cosa quale "
               "quali quando come dove perché quanto quanti se più molto anche questo questa questi queste quello quella posso "
               "puoi può vorrei devo fare fa scrivi spiega dimmi dammi oggi domani tutto ogni favore c due tre quattro cinque "
               "dieci testo seguente seguenti bisogno elenca riassumi ecco prima dopo altro altra sempre nulla",
        [PT] = "o a os as um uma uns umas de do da dos das em no na nos nas ao à aos às por pelo pela para com sem e ou mas é "
               "são era eram ser sou foi está estão estou estar tem têm tenho ter há eu tu você ele ela nós vocês eles elas me "
               "te se lhe meu minha meus minhas teu tua seu sua seus suas nosso não que quem qual quais quando como onde porque "
               "porquê quanto quantos mais muito também já este esta estes estas esse essa isso isto posso pode quero preciso "
               "fazer faz escreva explique diga dê hoje amanhã todo cada entre sobre dois duas três quatro cinco dez texto "
               "seguinte seguir resuma depois antes outro outra sempre nada ajuda",
        [NL] = "de het een en of maar is zijn was waren ben bent wordt worden werd heeft heb hebben had kan kun kunnen kunt moet "
               "moeten zal zou wil willen ik jij je hij zij ze wij we jullie u mij me jou hem haar ons hen mijn jouw uw niet "
               "geen op in uit aan bij met naar van voor door over onder tussen tegen zonder om te tot als dan wat wie waar "
               "wanneer waarom hoe welke welk deze dit die dat er ook nog al heel zo veel meer schrijf leg geef zeg maak vandaag "
               "morgen alsjeblieft weer twee drie vier vijf tien tekst volgende nodig noem hulp samen hebt gaat iets alle ander "
               "altijd mag",
        [SV] = "den det de en ett och eller men är var vara varit blir bli blev har hade ha kan kunde ska skulle vill måste jag "
               "du han hon vi ni mig dig honom henne oss er min mitt mina din ditt dina sin sitt sina vår inte ingen på av till "
               "från med för om i ur hos mellan under över utan mot vid vad vem när varför hur vilken vilket vilka som att så "
               "där här detta denna dessa mycket mer också bara skriv förklara säg ge gör idag tack snäll två tre fyra fem tio "
               "text följande behöver nämn hjälp något alla andra alltid finns",
        [DA] = "den det de en et og eller men er var være været bliver blive blev har havde have kan kunne skal skulle vil må "
               "jeg du han hun vi i mig dig ham hende os min mit mine din dit dine sin sit sine vores ikke ingen på af til fra "
               "med for om ud hos mellem under over uden mod ved hvad hvem hvor hvornår hvorfor hvordan hvilken hvilket hvilke "
               "som at så der her dette denne disse meget mere også kun skriv forklar sig giv gør dag tak venligst to tre fire "
               "fem ti tekst følgende brug nævn hjælp noget alle andre altid findes",
        [NO] = "den det de en ei et og eller men er var være vært blir bli ble har hadde ha kan kunne skal skulle vil må jeg du "
               "han hun vi dere meg deg ham henne oss min mitt mine din ditt dine sin sitt sine vår ikke ingen på av til fra med "
               "for om ut hos mellom under over uten mot ved hva hvem hvor når hvorfor hvordan hvilken hvilket hvilke som å at "
               "så der her dette denne disse mye mer også bare skriv forklar si gi gjør dag takk to tre fire fem ti tekst "
               "følgende trenger nevn hjelp noe alle andre alltid finnes",
        [PL] = "i w we z ze na do od po o u za przez przed pod nad przy dla bez między nie tak jest są był była było były być "
               "mam masz ma mamy mają mogę możesz może można chcę muszę ja ty on ona ono my wy oni mnie mi cię ci go jej jego "
               "ich mu nam moje mój moja twój twoje swój swoje się co kto jak jaki jaka jakie który która które kiedy gdzie "
               "dlaczego czemu ile czy że żeby ale albo lub oraz to ten ta te tego tej tym tych jeśli już tylko bardzo też "
               "proszę napisz wyjaśnij powiedz podaj dziś dwa trzy cztery pięć dziesięć tekst następujący potrzebuję wymień "
               "wszystko inny zawsze coś nic więc",
        [CS] = "a i v ve z ze na do od po o u za před pod nad při pro bez mezi ne ano je jsou byl byla bylo být jsem jsi jsme "
               "jste mám máš má máme mohu můžu můžeš může chci musím já ty on ona my vy oni mě mi tě ti ho jej jeho její jim můj "
               "moje tvůj svůj své se si co kdo jak jaký jaká jaké který která které kdy kde proč kolik zda že aby ale nebo to "
               "ten ta tento této tom pokud už jen velmi také prosím napiš vysvětli řekni dnes dva tři čtyři pět deset text "
               "následující potřebuji uveď všechno jiný vždy něco nic tedy",
        [TR] = "ve veya ya da de ile için bir bu şu o ben sen biz siz onlar benim senin onun bizim bana sana ona bunu şunu beni "
               "seni ne neden niçin nasıl nerede nereye kim hangi hangisi kaç mi mı mu mü değil var yok çok daha en gibi kadar "
               "sonra önce her hiç ama fakat çünkü eğer ise olarak olan olduğunu oldu olur hakkında lütfen yaz açıkla söyle ver "
               "yap bugün yarın iki üç dört beş on metin aşağıdaki ihtiyacım özetle yardım bütün başka zaman şey",
        [RO] = "și sau dar este sunt era erau fi ești suntem am ai are avem au eu tu el ea noi voi ei ele mă te se îl îi le ne "
               "mi ți meu mea mei tău ta său sa nu un o unui unei al ale cu fără la în din de pe pentru prin între sub peste "
               "până ce cine care când unde cum cât câți dacă că să mai foarte acest această acești aceste asta pot poți poate "
               "vreau trebuie scrie explică spune dă fă azi mâine rog doi trei patru cinci zece text textul următor următorul "
               "nevoie rezumă ajutor tot alt mereu ceva nimic",
        [FI] = "ja tai mutta on ovat oli olivat olla olen olet olemme ei en et emme minä sinä hän me te he minun sinun hänen "
               "meidän minua mitä mikä mitkä kuka kenen missä mistä mihin milloin miksi miten kuinka jos niin kuin että se ne "
               "tämä nämä tuo joka jotka myös vain hyvin enemmän kanssa ilman ennen jälkeen voi voin voiko haluan pitää kirjoita "
               "selitä kerro anna tänään kiitos kaksi kolme neljä viisi kymmenen teksti seuraava seuraavat tarvitsen apua kaikki "
               "toinen aina jotain ole",
        [HU] = "a az egy és vagy de van vannak volt lesz lenni vagyok nem igen én te ő mi ti ők engem nekem neked neki ez ezt "
               "azt mit ki kit hol hova mikor miért hogyan hogy milyen melyik mennyi hány ha akkor mert is csak nagyon még már "
               "meg be fel le minden kell lehet tud tudok akarok szeretnék kérlek írj magyarázd mondd adj ma holnap két kettő "
               "három négy öt tíz szöveg következő szükségem segítség mindig valami semmi más",
        [ID] = "yang dan atau tetapi di ke dari untuk dengan tanpa pada oleh dalam adalah ini itu saya aku kamu anda dia kami "
               "kita mereka tidak bukan ada bisa dapat harus akan sudah belum apa siapa mana kapan mengapa kenapa bagaimana "
               "berapa jika karena juga sangat lebih tolong tulis tuliskan jelaskan berikan buatkan hari satu dua tiga empat "
               "lima sepuluh teks berikut butuh bantuan ringkas semua lain selalu sesuatu",
        [VI] = "và hoặc nhưng là của cho với không có được này đó tôi bạn anh chị em chúng ta họ một các những trong trên từ đến "
               "về ở khi nếu vì thì mà gì ai đâu nào sao như thế bao nhiêu hãy viết giải thích xin vui lòng rất cũng đã sẽ đang "
               "hôm nay hai ba bốn năm mười văn bản sau cần giúp tóm tắt tất cả khác",
};

/* Last three letters of longer words: a weak vote, for the question that has no little word. */
static const char *const ends[LATIN] = {
        [EN] = "ing ght ely lly ess ked ted red ned led wth rth ize ous",
        [DE] = "ung ich sch eit tet ern tzt igt cht ein",
        [FR] = "eux que oir eau ait ait ège ère urs ion ais ier ent aux",
        [ES] = "ión dad ndo nte ado ido ías ble nza ñol nes",
        [IT] = "one tto tta ità ndo nte gli cci ggi lla llo nno sta sto nti ico ica ele",
        [PT] = "ção ões ade ndo nte nho nha lho lha gem ado ido",
        [NL] = "eid ijk ijn aar ing oor ken ten ven ten aak cht tie",
        [SV] = "rna ing ade ats are ast tta åde lar nde",
        [DA] = "rne hed lse ede nde ige gen mme ste",
        [NO] = "ene het lse ede nde ige gen mme ste",
        [PL] = "ość nie ego ych ach owa cie ego ków rzy iem emu ami ować eję owy ska ski cja",
        [CS] = "ost ání ého ých ách ová ení ími ský ská ové ují",
        [TR] = "lar ler yor dır dir lık lik sız nın nin ını dan den ını cak mak mek",
        [RO] = "lui ția ște ile ulu tul rea ții ntr ele",
        [FI] = "ssa ssä sta stä lla llä een iin nen ksi ään aan lta lle tta ttä sen ien",
        [HU] = "ság ség ban ben nak nek hoz hez ért val vel nál tok gok ság ait",
        [ID] = "kan nya kah lah gan ran tan",
};

/* Letters that few languages of Latin script have. */
static uint32_t letter_votes(utf8proc_int32_t c)
{
#define L(x) (1u << (x))
        switch (c) {
        case 0xdf: return L(DE);                                   /* sz */
        case 0xe4: case 0xf6: return L(DE) | L(SV) | L(FI) | L(TR) | L(HU); /* a, o with dots */
        case 0xfc: return L(DE) | L(TR) | L(HU);
        case 0xf1: case 0xbf: case 0xa1: return L(ES);             /* n with tilde, turned marks */
        case 0xe3: case 0xf5: return L(PT) | L(VI);
        case 0xe7: return L(FR) | L(PT) | L(TR);
        case 0xe8: return L(FR) | L(IT) | L(VI);
        case 0xe0: return L(FR) | L(IT) | L(PT);
        case 0xf9: case 0xec: case 0xf2: return L(IT) | L(VI);
        case 0xea: return L(FR) | L(PT) | L(VI);
        case 0xe2: case 0xee: return L(FR) | L(RO);
        case 0xf4: return L(FR) | L(PT) | L(VI);
        case 0xfb: case 0x153: case 0xef: return L(FR);
        case 0xe1: case 0xed: return L(ES) | L(PT) | L(HU) | L(CS);
        case 0xf3: return L(ES) | L(PT) | L(HU) | L(PL);
        case 0xfa: return L(ES) | L(PT) | L(HU) | L(CS);
        case 0xe5: return L(SV) | L(DA) | L(NO);
        case 0xe6: case 0xf8: return L(DA) | L(NO);
        case 0x105: case 0x107: case 0x119: case 0x142: case 0x144: case 0x15b: case 0x17a: case 0x17c: return L(PL);
        case 0x10d: case 0x10f: case 0x11b: case 0x148: case 0x159: case 0x161: case 0x165: case 0x16f: case 0x17e: case 0xfd:
                return L(CS);
        case 0x11f: case 0x131: return L(TR);
        case 0x15f: return L(TR) | L(RO);
        case 0x103: return L(RO) | L(VI);
        case 0x219: case 0x21b: case 0x163: return L(RO);
        case 0x151: case 0x171: return L(HU);
        case 0x111: case 0x1a1: case 0x1b0: return L(VI);
        default: return c >= 0x1ea0 && c <= 0x1ef9 ? L(VI) : 0;
        }
#undef L
}

/* Scripts with one language (or one that stands for it); the rest is decided by letters. */
enum script { S_NONE, S_LATIN, S_CYRILLIC, S_ARABIC, S_HAN, S_KANA, S_ONE };

struct script_range {
        int32_t first, last;
        enum script script;
        const char *code;
};

static const struct script_range ranges[] = {
        { 0x00c0, 0x024f, S_LATIN, NULL },  { 0x0370, 0x03ff, S_ONE, "el" },   { 0x0400, 0x052f, S_CYRILLIC, NULL },
        { 0x0530, 0x058f, S_ONE, "hy" },    { 0x0590, 0x05ff, S_ONE, "he" },   { 0x0600, 0x06ff, S_ARABIC, NULL },
        { 0x0750, 0x077f, S_ARABIC, NULL }, { 0x0900, 0x097f, S_ONE, "hi" },   { 0x0980, 0x09ff, S_ONE, "bn" },
        { 0x0a00, 0x0a7f, S_ONE, "pa" },    { 0x0a80, 0x0aff, S_ONE, "gu" },   { 0x0b80, 0x0bff, S_ONE, "ta" },
        { 0x0c00, 0x0c7f, S_ONE, "te" },    { 0x0c80, 0x0cff, S_ONE, "kn" },   { 0x0d00, 0x0d7f, S_ONE, "ml" },
        { 0x0e00, 0x0e7f, S_ONE, "th" },    { 0x0e80, 0x0eff, S_ONE, "lo" },   { 0x1000, 0x109f, S_ONE, "my" },
        { 0x10a0, 0x10ff, S_ONE, "ka" },    { 0x1100, 0x11ff, S_ONE, "ko" },   { 0x1200, 0x137f, S_ONE, "am" },
        { 0x1780, 0x17ff, S_ONE, "km" },    { 0x1e00, 0x1eff, S_LATIN, NULL }, { 0x1f00, 0x1fff, S_ONE, "el" },
        { 0x3040, 0x30ff, S_KANA, NULL },   { 0x3130, 0x318f, S_ONE, "ko" },   { 0x3400, 0x4dbf, S_HAN, NULL },
        { 0x4e00, 0x9fff, S_HAN, NULL },    { 0xac00, 0xd7af, S_ONE, "ko" },   { 0xf900, 0xfaff, S_HAN, NULL },
        { 0xff66, 0xff9f, S_KANA, NULL },   { 0x20000, 0x2ffff, S_HAN, NULL },
};
#define N_RANGES (sizeof ranges / sizeof ranges[0])

struct language_slot {
        uint32_t hash, votes; /* votes 0: free */
};

struct language {
        struct language_slot slots[SLOTS];
};

/* What was seen of a text. */
struct language_seen {
        uint32_t score[LATIN];
        unsigned latin, cyrillic, arabic, han, kana, one[N_RANGES];
        unsigned uk, ru, bg, sr, fa, ur;
        char word[WORD_MAX];
        size_t n; /* bytes of word; above WORD_MAX: too long to be listed */
};

static uint32_t hash_of(const char *word, size_t n)
{
        uint32_t h = 2166136261u;

        for (size_t i = 0; i < n; i++)
                h = (h ^ (unsigned char)word[i]) * 16777619u;
        return h;
}

/* 32 bits of hash stand for the word: two words of the lists, or a listed and an unknown one, hardly ever share them. */
static const struct language_slot *find(const struct language *l, uint32_t hash)
{
        size_t i = (hash ^ hash >> 15) % SLOTS;

        while (l->slots[i].votes && l->slots[i].hash != hash)
                i = (i + 1) % SLOTS;
        return &l->slots[i];
}

static void learn(struct language *l, const char *list, uint32_t salt, uint32_t votes)
{
        for (const char *p = list; p && *p; p += strspn(p, " ")) {
                size_t n = strcspn(p, " ");
                uint32_t hash = hash_of(p, n) ^ salt;
                struct language_slot *slot = l->slots + (find(l, hash) - l->slots);

                slot->hash = hash;
                slot->votes |= votes;
                p += n;
        }
}

struct language *language_create(void)
{
        struct language *l = calloc(1, sizeof *l);

        for (int k = 0; l && k < LATIN; k++) {
                learn(l, words[k], 0, 1u << k);
                learn(l, ends[k], END_SALT, 1u << k);
        }
        return l;
}

void language_destroy(struct language *l)
{
        free(l);
}

static void vote(struct language_seen *s, uint32_t votes, unsigned weight)
{
        unsigned share;

        if (!votes)
                return;
        share = weight / (unsigned)__builtin_popcount(votes);
        for (; votes; votes &= votes - 1)
                s->score[__builtin_ctz(votes)] += share ? share : 1;
}

/* Votes of the last three letters, which may be more bytes. */
static uint32_t end_votes(const struct language *l, const char *word, size_t n)
{
        size_t at = n;

        for (int letters = 0; letters < 3 && at > 0; letters++)
                do
                        at--;
                while (at > 0 && ((unsigned char)word[at] & 0xc0) == 0x80);
        return find(l, hash_of(word + at, n - at) ^ END_SALT)->votes;
}

static void end_word(const struct language *l, struct language_seen *s)
{
        uint32_t votes = s->n > 0 && s->n <= WORD_MAX ? find(l, hash_of(s->word, s->n))->votes : 0;

        if (votes)
                vote(s, votes, s->n == 1 ? ONE_VOTE / 3 : ONE_VOTE);
        else if (s->n >= LONGER && s->n <= WORD_MAX)
                vote(s, end_votes(l, s->word, s->n), ONE_VOTE / 3);
        s->n = 0;
}

static void put(struct language_seen *s, const utf8proc_uint8_t *bytes, size_t n)
{
        if (s->n + n <= WORD_MAX) {
                memcpy(s->word + s->n, bytes, n);
                s->n += n;
        } else {
                s->n = WORD_MAX + 1;
        }
}

static void see_cyrillic(struct language_seen *s, utf8proc_int32_t c)
{
        s->cyrillic++;
        s->uk += c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491;
        s->ru += c == 0x44b || c == 0x44d || c == 0x451;
        s->bg += c == 0x44a;
        s->sr += c == 0x452 || c == 0x458 || c == 0x459 || c == 0x45a || c == 0x45b || c == 0x45f;
}

static void see_arabic(struct language_seen *s, utf8proc_int32_t c)
{
        s->arabic++;
        s->fa += c == 0x67e || c == 0x686 || c == 0x698 || c == 0x6af || c == 0x6cc;
        s->ur += c == 0x679 || c == 0x688 || c == 0x691 || c == 0x6ba || c == 0x6d2 || c == 0x6be;
}

static const struct script_range *range_of(utf8proc_int32_t c)
{
        size_t low = 0, high = N_RANGES;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (c > ranges[middle].last)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < N_RANGES && c >= ranges[low].first ? &ranges[low] : NULL;
}

/* One character beyond ASCII. */
static void see(const struct language *l, struct language_seen *s, utf8proc_int32_t c)
{
        utf8proc_int32_t lower = utf8proc_tolower(c);
        const struct script_range *range = range_of(lower);
        utf8proc_uint8_t bytes[4];

        if (!range || c == 0xd7 || c == 0xf7) {
                end_word(l, s);
                vote(s, letter_votes(c), ONE_VOTE); /* the turned marks of Spanish */
                return;
        }
        switch (range->script) {
        case S_LATIN:
                s->latin++;
                vote(s, letter_votes(lower), ONE_VOTE);
                put(s, bytes, (size_t)utf8proc_encode_char(lower, bytes));
                break;
        case S_CYRILLIC:
                see_cyrillic(s, lower);
                break;
        case S_ARABIC:
                see_arabic(s, c);
                break;
        case S_HAN:
                s->han++;
                break;
        case S_KANA:
                s->kana++;
                break;
        default:
                s->one[range - ranges]++;
        }
}

static void see_all(const struct language *l, struct language_seen *s, const char *text, size_t n)
{
        utf8proc_int32_t c;
        utf8proc_ssize_t took;

        for (size_t i = 0; i < n; i += (size_t)took) {
                unsigned char b = (unsigned char)text[i], low = b | 0x20;

                took = 1;
                if (low >= 'a' && low <= 'z') {
                        s->latin++;
                        put(s, &low, 1);
                } else if (b < 0x80) {
                        end_word(l, s);
                } else {
                        took = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
                        if (took > 0)
                                see(l, s, c);
                        else
                                took = 1; /* not UTF-8, or cut: passed over */
                }
        }
        end_word(l, s);
}

static const char *latin_language(const struct language_seen *s)
{
        unsigned best = 0, second = 0;

        for (unsigned k = 1; k < LATIN; k++)
                if (s->score[k] > s->score[best])
                        best = k;
        for (unsigned k = 0; k < LATIN; k++)
                if (k != best && s->score[k] > second)
                        second = s->score[k];
        return s->score[best] >= ONE_VOTE / 2 && s->score[best] > second ? codes[best] : NULL;
}

static const char *cyrillic_language(const struct language_seen *s)
{
        if (s->sr > s->uk && s->sr > s->ru)
                return "sr";
        if (s->uk > s->ru)
                return "uk";
        return s->bg > 0 && s->ru == 0 && s->bg * 40 > s->cyrillic ? "bg" : "ru";
}

const char *language_of(const struct language *l, const char *text, size_t n)
{
        struct language_seen s = { 0 };
        unsigned most;
        const char *code;

        see_all(l, &s, text, n < READ_MAX ? n : READ_MAX);
        /* A word of Chinese is one or two characters, of Latin script five: count what each script says, not its letters. */
        most = s.latin;
        code = most ? latin_language(&s) : NULL;
        if (s.cyrillic > most) {
                most = s.cyrillic;
                code = cyrillic_language(&s);
        }
        if (s.arabic > most) {
                most = s.arabic;
                code = s.ur > 0 ? "ur" : s.fa > 0 ? "fa" : "ar";
        }
        if ((s.han + s.kana) * 3 > most) {
                most = (s.han + s.kana) * 3;
                code = s.kana * 8 > s.han ? "ja" : "zh";
        }
        for (size_t i = 0; i < N_RANGES; i++)
                if (s.one[i] * 2 > most) {
                        most = s.one[i] * 2;
                        code = ranges[i].code;
                }
        return code;
}

const char *language_codes(void)
{
        return "en de fr es it pt nl sv da no pl cs tr ro fi hu id vi " OTHER_CODES;
}

bool language_known(const char *code)
{
        const char *all = language_codes(), *at = all;

        if (strlen(code) != 2)
                return false;
        for (; (at = strstr(at, code)); at += 2)
                if ((at == all || at[-1] == ' ') && (at[2] == ' ' || at[2] == '\0'))
                        return true;
        return false;
}
