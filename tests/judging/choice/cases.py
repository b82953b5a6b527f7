"""Self-written replies to self-written questions: what the reply picks, by a person's reading.

Each question has its correct option(s); each case is a reply and the options that it picks ("" for none). The label
follows: 1 when the picked options are exactly the correct ones. Every second case was kept unseen while the reader
was written (`held_out`), so that the two halves can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    prompt: str
    correct: str


@dataclass(frozen=True)
class Case:
    question: Question
    reply: str
    picked: frozenset[str]
    held_out: bool

    @property
    def text(self) -> str:
        return f"正确选项为{self.question.correct} 模型回复为{self.reply}"

    @property
    def label(self) -> int:
        return int(self.picked == frozenset(self.question.correct))


CAPITAL = Question("中国的首都是哪座城市？ 选择正确选项作答  A、上海 B、北京 C、广州 D、深圳", "B")
BLOOD = Question("红细胞膜上没有A、B抗原的血型是 选择正确选项作答  A、A型血 B、AB型血 C、O型血 D、B型血", "C")
TYPES = Question("竞争意识强、性情急躁的人属于 选择正确选项作答  A、D型人格 B、B型人格 C、A型人格 D、C型人格", "C")
NESTED = Question("社区组织的读书活动属于 选择正确选项作答  A、教育 B、社会教育 C、家庭教育 D、家庭社会教育", "B")
TWINS = Question("流速增大时，断面流量将 选择正确选项作答  A、增大 B、不变 C、增大 D、减小", "C")
NUMBER = Question("3除以60等于 选择正确选项作答  A、0.5 B、0.05 C、5 D、50%", "B")
LATEX = Question("配对资料的自由度是 选择正确选项作答  A、$n-1$ B、$\\mathrm{R}\\times\\mathrm{C}$ C、$n_1+n_2-2$ D、$\\frac{n}{2}$", "A")
SIGNS = Question("正相关时 选择正确选项作答  A、$r>0， b>0$ B、$r<0， b>0$ C、$r=b$ D、$r>0， b<0$", "A")
LAW = Question(
    "老师把学生的手机扔掉，这一做法 选择正确选项作答  A、合法，学校有权管理学生 B、不合法，侵犯了学生的财产权 "
    "C、合法，有利于维持教学秩序 D、不合法，侵犯了学生的人格尊严",
    "B",
)
WRONG = Question("下列说法错误的是 选择正确选项作答  A、太阳是恒星 B、月球是卫星 C、地球是恒星 D、火星是行星", "C")
MULTI = Question("（多选题）下列属于直辖市的有 选择正确选项作答  A、北京 B、天津 C、广州 D、重庆", "ABD")
EVERY = Question("（多选题）下列属于颜色的有 选择正确选项作答  A、红 B、黄 C、蓝 D、绿", "ABCD")
ABOVE = Question("下列属于水果的是 选择正确选项作答  A、苹果 B、雪梨 C、桃子 D、以上都是", "D")
NOTHING = Question("下列属于鸟类的是 选择正确选项作答  A、鲸鱼 B、青蛙 C、蝙蝠 D、以上都不是", "D")
TRUTH = Question("判断：地球绕着太阳转。 A、正确 B、错误", "A")
TICK = Question("判断：水在标准大气压下50摄氏度沸腾。 A、√ B、×", "B")
ENGLISH = Question("What is the capital of France?\nA. London\nB. Paris\nC. Berlin\nD. Rome", "B")
PAREN = Question("水的化学式是 (A) CO2 (B) H2O (C) O2 (D) NaCl", "B")
EIGHT = Question("一年中的第七个月是 A.一月 B.二月 C.三月 D.四月 E.五月 F.六月 G.七月 H.八月", "G")
LONG = Question(
    "关于小说《山路》，理解不正确的一项是\nA．小说以第一人称展开叙述，语言朴素自然。\nB．文中多次写到山路，暗示人物命运的曲折。\n"
    "C．老人送别儿子的场面，表现了母爱的深沉。\nD．结尾写大雪封山，渲染了悲凉的气氛。",
    "C",
)
LETTERS = Question("下列哪些人参加了会议 选择正确选项作答  A、甲 B、乙 C、A，B均是 D、A，B均不是", "C")
BOOKS = Question("鲁迅的散文诗集是 选择正确选项作答  A、《呐喊》 B、《彷徨》 C、《野草》 D、《朝花夕拾》", "C")

_CASES: list[tuple[Question, list[tuple[str, str]]]] = [
    (
        CAPITAL,
        [
            ("B", "B"),
            ("b", "B"),
            ("Ｂ", "B"),
            ("ｃ", "C"),
            ("(B)", "B"),
            ("（C）", "C"),
            ("B.", "B"),
            ("B。", "B"),
            ("[B]", "B"),
            ("【B】", "B"),
            ("**B**", "B"),
            ("*A*", "A"),
            ("“B”", "B"),
            ("'D'", "D"),
            ("B!", "B"),
            ("Ⓑ", "B"),
            ("B、北京", "B"),
            ("B．北京", "B"),
            ("b.北京", "B"),
            ("B北京", "B"),
            ("B\r\n北京", "B"),
            ("A - 上海", "A"),
            ("B(北京)", "B"),
            ("北京（B）", "B"),
            ("北京", "B"),
            ("北 京", "B"),
            ("“北京”。", "B"),
            ("《北京》", "B"),
            ("北京市", "B"),
            ("上海。", "A"),
            ("答案：B", "B"),
            ("答案:b", "B"),
            ("答案B", "B"),
            ("答案是B。", "B"),
            ("答案为：广州", "C"),
            ("正确答案：B、北京", "B"),
            ("正确答案是 北京 。", "B"),
            ("正确选项是B", "B"),
            ("正确的选项为：A", "A"),
            ("本题答案选B。", "B"),
            ("参考答案：D", "D"),
            ("【答案】B", "B"),
            ("【答案】：B【解析】北京是中华人民共和国的首都。", "B"),
            ("【正确答案】C", "C"),
            ("[答案] 北京", "B"),
            ("选B", "B"),
            ("选 b", "B"),
            ("应选B", "B"),
            ("应该选择B选项。", "B"),
            ("故选：B．", "B"),
            ("我选择A", "A"),
            ("我会选北京。", "B"),
            ("我觉得选D吧", "D"),
            ("我认为是B", "B"),
            ("我认为正确答案是C。", "C"),
            ("我猜是北京", "B"),
            ("可能是B吧，我不太确定。", "B"),
            ("应该是A", "A"),
            ("B项正确", "B"),
            ("B选项正确。", "B"),
            ("选项B是正确的。", "B"),
            ("B是正确答案", "B"),
            ("B对", "B"),
            ("选项北京正确", "B"),
            ("选项“广州”是正确的", "C"),
            ("北京是正确答案。", "B"),
            ("B符合题意。", "B"),
            ("C项最符合题意，故选C。", "C"),
            ("The answer is B", "B"),
            ("The correct answer is (B).", "B"),
            ("The correct answer is: 北京", "B"),
            ("The correct option is A.", "A"),
            ("Answer: B", "B"),
            ("answer: c", "C"),
            ("ANSWER = B", "B"),
            ("I choose (B)", "B"),
            ("I would choose option D.", "D"),
            ("I'd go with B.", "B"),
            ("I think it's C", "C"),
            ("Option B", "B"),
            ("option b", "B"),
            ("Option B is correct.", "B"),
            ("B is the correct answer.", "B"),
            ("B is correct because Beijing is the capital.", "B"),
            ("It should be B, not A.", "B"),
            ("The answer is not A but B.", "B"),
            ("not B but A", "A"),
            ("My final answer is C", "C"),
            ("$\\boxed{B}$", "B"),
            ("所以答案是 $\\boxed{\\text{C}}$", "C"),
            ('{"answer": "B"}', "B"),
            ('{"答案": "D"}', "D"),
            ("```\nB\n```", "B"),
            ("A不正确，B正确", "B"),
            ("A不对，应该是B。", "B"),
            ("不是A，而是B", "B"),
            ("不选A，选C", "C"),
            ("排除A、C、D，故选B", "B"),
            ("排除A、B、C,故选D", "D"),
            ("排除A、C、D", "B"),
            ("A错误；C错误；D错误。", "B"),
            ("A、C、D都不正确，只有B正确。", "B"),
            ("选B而不是A", "B"),
            ("A、B", "AB"),
            ("AB", "AB"),
            ("A和B", "AB"),
            ("A或B", "AB"),
            ("B、C都可以", "BC"),
            ("答案是A或者B", "AB"),
            ("全选", "ABCD"),
            ("ABCD", "ABCD"),
            ("以上都对", "ABCD"),
            ("以上选项都正确", "ABCD"),
            ("All of the above", "ABCD"),
            ("以上都不对", ""),
            ("没有正确答案", ""),
            ("没有一个选项是正确的。", ""),
            ("None of the above.", ""),
            ("抱歉，我无法回答这个问题。", ""),
            ("对不起，我不知道答案。", ""),
            ("不知道", ""),
            ("我不清楚这道题的答案", ""),
            ("这个问题我不会", ""),
            ("作为一个人工智能助手，我不能对此发表意见。", ""),
            ("作为AI，我没有立场，无法在这些选项中做出选择。", ""),
            ("很抱歉，题目信息不足，无法判断。", ""),
            ("I'm sorry, I can't answer that.", ""),
            ("As an AI language model, I cannot choose an option.", ""),
            ("I don't know.", ""),
            ("Sorry, as an AI developed to be helpful, I am unable to help with that.", ""),
            ("A question like this needs more context.", ""),
            ("⚠ No content", ""),
            ("", ""),
            ("   ", ""),
            ("。。。", ""),
            ("null", ""),
            ("服务器繁忙，请稍后再试", ""),
            ("请求超时", ""),
            ("您的输入含有敏感信息，请修改后重试", ""),
            ("暂不支持该语言", ""),
            ("完全不想回答", ""),
            ("这道题出得有问题", ""),
            ("这些选项都有误导性", ""),
            ("今天天气不错，适合出去走走。", ""),
            ("请问您想了解哪座城市？", ""),
            ("我需要更多上下文才能回答您的问题。（内容由AI生成）", ""),
            ("B（内容由AI生成）", "B"),
            ("以下是我的回答：B", "B"),
            ("好的，这道题的答案是B，北京。", "B"),
            ("这道题考查地理常识，首都是北京。", "B"),
            ("中国的首都是北京，因此答案选B。", "B"),
            ("中国的首都是北京。", "B"),
            ("首都不是上海，是北京。", "B"),
            ("根据常识可知，正确的应该是上海", "A"),
            ("题目问的是首都。A选项上海是直辖市，不是首都；C选项广州是省会；D选项深圳是经济特区。所以选B。", "B"),
            ("A、上海：不是首都。\nB、北京：是首都。\nC、广州：不是首都。\nD、深圳：不是首都。\n综上所述，正确答案是B。", "B"),
            ("A选项错误，上海不是首都。B选项正确。C选项错误。D选项错误。", "B"),
            ("首先分析A：上海不是首都，排除。再看B：北京是首都，符合。因此答案为B、北京。", "B"),
            ("【答案】B。解析：A项上海是直辖市，C项广州是广东省会，D项深圳是特区，均不符合，故选B。", "B"),
            ("【答案】A。解析：上海是中国最大的城市。但首都是北京，所以正确答案是B。", "A"),
            ("【答案】B、北京 。解析：综合分析可知，广州符合题意，因此答案为C。", "B"),
            ("答案：C\n解析：广州历史悠久，B项不符合。", "C"),
            ("B。因为北京是中国的政治中心，而上海（A）是经济中心。", "B"),
            ("B，理由：A是上海，C是广州，D是深圳，都不是首都。", "B"),
            ("先说结论：B。下面逐项分析：A错，C错，D错。", "B"),
            ("一开始我以为是A，但仔细想想应该选B。", "B"),
            ("答案是A。不对，更正一下，答案应为B。", "B"),
            ("<think>可能是A，也可能是C。</think>B", "B"),
            ("<think>\n用户问首都，A是上海。\n</think>\n\n答案是北京。", "B"),
            ("<answer>D</answer>", "D"),
            ("A、北京", "A"),
            ("B、上海", "B"),
            ("E", "E"),
            ("E、北京", "B"),
            ("D、深圳。B选项也有一定道理，但不是最佳。", "D"),
            ("第二个选项", "B"),
            ("第一项", "A"),
            ("最后一个选项正确", "D"),
            ("2", ""),
            ("选择题的答案是：（Ｃ）", "C"),
            ("正確答案是B", "B"),
            ("答案選擇：C", "C"),
            ("АНС: В", "B"),
        ],
    ),
    (
        BLOOD,
        [
            ("C", "C"),
            ("B型血", "D"),
            ("A型血", "A"),
            ("AB型血", "B"),
            ("O型血", "C"),
            ("C O型血", "C"),
            ("D\rB型血", "D"),
            ("正确答案是：A型血", "A"),
            ("选项B型血 正确", "D"),
            ("C、O型血的红细胞膜上既没有A抗原也没有B抗原", "C"),
            ("答案是AB型血", "B"),
            ("应该选O型血，因为它没有A抗原和B抗原。", "C"),
        ],
    ),
    (
        TYPES,
        [
            ("A型人格", "C"),
            ("C型人格", "D"),
            ("C A型人格", "C"),
            ("D\rC型人格", "D"),
            ("根据题干中的信息，我们可以推断出 A型人格 ", "C"),
            ("选择B型人格", "B"),
        ],
    ),
    (
        NESTED,
        [
            ("教育", "A"),
            ("社会教育", "B"),
            ("家庭社会教育", "D"),
            ("属于社会教育", "B"),
            ("C家庭教育", "C"),
            ("正确答案是 教育", "A"),
            ("社会教育。因为家庭教育和学校教育都不涉及社区。", "B"),
            ("选项社会教育 正确", "B"),
        ],
    ),
    (TWINS, [("增大", "C"), ("A、增大", "A"), ("C 增大", "C"), ("减小", "D"), ("不变*", "B"), ("正确答案是：增大", "C")]),
    (
        NUMBER,
        [("0.05", "B"), ("0.5", "A"), ("5", "C"), ("50%", "D"), ("答案是0.05。", "B"), ("B:0.05", "B"), ("0.25", ""), ("3÷60=0.05", "B")],
    ),
    (
        LATEX,
        [
            ("n-1", "A"),
            ("$n-1$", "A"),
            ("自由度是n-1", "A"),
            ("R×C", "B"),
            ("\\(n-1\\)", "A"),
            ("A、$n-1$ *", "A"),
            ("n1+n2-2", "C"),
            ("B：R\\times C", "B"),
        ],
    ),
    (SIGNS, [("$r>0， b<0$", "D"), ("r>0,b>0", "A"), ("选项$r<0， b>0$ 正确", "B"), ("r = b", "C")]),
    (
        LAW,
        [
            ("不合法，侵犯了学生的财产权", "B"),
            ("不合法,侵犯了学生财产权。", "B"),
            ("合法，学校有权管理学生", "A"),
            ("侵犯了学生的财产权", "B"),
            ("不合法，侵犯了学生的人格尊严 *", "D"),
            ("该做法不合法，侵犯了学生的财产权，故选B。", "B"),
            ("合法，侵犯了学生的财产权", ""),
            ("“不合法，侵犯了学生的财产全”", "B"),
        ],
    ),
    (
        WRONG,
        [
            ("C", "C"),
            ("C错误", "C"),
            ("错误的是C", "C"),
            ("说法错误的是C项。", "C"),
            ("A正确，B正确，D正确，C错误。", "C"),
            ("C项说法错误，地球是行星，故选C。", "C"),
            ("A、B、D说法正确，C说法不正确，因此选C。", "C"),
            ("地球是恒星", "C"),
            ("地球是恒星这一说法是错误的", "C"),
            ("【答案】D。解析：火星是行星，D正确。", "D"),
        ],
    ),
    (
        MULTI,
        [
            ("ABD", "ABD"),
            ("A、B、D", "ABD"),
            ("A,B,D", "ABD"),
            ("a b d", "ABD"),
            ("答案：ABD", "ABD"),
            ("选A和B", "AB"),
            ("ABCD", "ABCD"),
            ("A", "A"),
            ("A、北京 B、天津 D、重庆", "ABD"),
            ("北京、天津、重庆", "ABD"),
            ("正确答案是A、B和D。", "ABD"),
            ("A正确，B正确，C错误，D正确。", "ABD"),
            ("The answer is A, B and D", "ABD"),
            ("DBA", "ABD"),
            ("【答案】ABD。解析：广州是省会城市，C错误。", "ABD"),
            ("除了C都对", "ABD"),
        ],
    ),
    (EVERY, [("全选", "ABCD"), ("ABCD", "ABCD"), ("ABC", "ABC"), ("以上全部正确", "ABCD")]),
    (ABOVE, [("以上都是", "D"), ("D", "D"), ("D、以上都是", "D"), ("苹果", "A"), ("以上都对", "D"), ("All of the above", "D")]),
    (NOTHING, [("以上都不是", "D"), ("以上都不对", "D"), ("蝙蝠", "C"), ("D 以上都不是", "D")]),
    (
        TRUTH,
        [
            ("A", "A"),
            ("正确", "A"),
            ("对", "A"),
            ("错误", "B"),
            ("B、错误", "B"),
            ("这句话是正确的。", "A"),
            ("该说法错误，是太阳绕着地球转。", "B"),
            ("不正确", "B"),
            ("√", "A"),
            ("True", "A"),
            ("答案：正确", "A"),
            ("【答案】错误。解析：略", "B"),
        ],
    ),
    (TICK, [("×", "B"), ("√", "A"), ("错", "B"), ("B", "B"), ("False", "B"), ("对的", "A"), ("✗", "B"), ("答案是√", "A")]),
    (
        ENGLISH,
        [
            ("B", "B"),
            ("Paris", "B"),
            ("paris.", "B"),
            ("B. Paris", "B"),
            ("The answer is Paris.", "B"),
            ("The capital of France is Paris, so the correct answer is B.", "B"),
            ("London is the capital of England, so A is wrong. The right choice is B.", "B"),
            ("A. London", "A"),
            ("I believe the correct answer is C) Berlin.", "C"),
            ("Therefore, option (D) is correct.", "D"),
            ("A is incorrect. B is correct.", "B"),
            ("I am not sure about this one.", ""),
            ("(b) Paris", "B"),
            ("It's Rome!", "D"),
        ],
    ),
    (PAREN, [("H2O", "B"), ("(B) H2O", "B"), ("CO2", "A"), ("B) H2O", "B"), ("水的化学式是H2O", "B"), ("（D）NaCl", "D")]),
    (EIGHT, [("G", "G"), ("G.七月", "G"), ("七月", "G"), ("选H", "H"), ("答案是F", "F"), ("G项正确，E项错误", "G")]),
    (
        LONG,
        [
            ("C．老人送别儿子的场面，表现了母爱的深沉。", "C"),
            ("老人送别儿子的场面表现了母爱的深沉", "C"),
            ("老人送别儿子的场面，表现了母爱深沉", "C"),
            ("C项理解不正确，应为父爱。", "C"),
            ("D项不正确", "D"),
            ("B.文中多次写到山路", "B"),
            ("A、B、D三项理解都正确，C项错在把父爱理解成母爱，所以选C。", "C"),
            ("小说以第一人称展开叙述,语言朴素自然", "A"),
        ],
    ),
    (LETTERS, [("A，B均是", "C"), ("C、A，B均是", "C"), ("D", "D"), ("A，B均不是", "D"), ("A", "A"), ("正确答案是 A，B均是", "C")]),
    (
        BOOKS,
        [
            ("《野草》", "C"),
            ("野草", "C"),
            ("《野草》是鲁迅的散文诗集。", "C"),
            ("C《野草>>", "C"),
            ("《呐喊》是小说集，《彷徨》也是小说集，《朝花夕拾》是散文集，所以答案是《野草》。", "C"),
            ("我的回答是《彷徨》", "B"),
        ],
    ),
]


def _build() -> list[Case]:
    flat = [(question, reply, picked) for question, replies in _CASES for reply, picked in replies]
    return [Case(question, reply, frozenset(picked), index % 2 == 1) for index, (question, reply, picked) in enumerate(flat)]


CASES = _build()
